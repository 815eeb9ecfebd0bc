#!/bin/bash
# make deps CUDA=1 where there is no nvcc, or one that is too old (NVCC_FOUND): installs it if a configured package source has it, and says else
# what is wanted. (Debian's own nvidia-cuda-toolkit is too old for C++20.)
packages="cuda-nvcc-13-0 cuda-cudart-dev-13-0 libcublas-dev-13-0 libnccl-dev"
if command -v apt-cache > /dev/null && apt-cache show $packages > /dev/null 2>&1; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get install -y -q $packages && exit 0
fi
cat << END
CUDA=1 needs nvcc 12.8 or later${NVCC_FOUND:+ (found: $NVCC_FOUND)}, cuBLAS and NCCL, which no package source of this machine has. Install them
from NVIDIA's package source (https://developer.nvidia.com/cuda-downloads):
    $packages
and put nvcc into PATH (/usr/local/cuda/bin). A machine that only builds needs no GPU.
END
exit 1
