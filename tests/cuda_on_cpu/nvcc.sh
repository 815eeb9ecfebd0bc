#!/bin/bash
# What nvcc and the real libraries say, without a GPU; `make test` has built $BUILD/device before where
# there is nvcc. Ends with a closing line of the usual form.
cd "$(dirname "$0")/../.." || exit 1
: "${BUILD:=build}"
passed=0 failed=0 skipped=0

if ! command -v nvcc > /dev/null; then
    echo "nvcc checks (compile and link for sm_80, sm_90, sm_100; table of kernels; occupancy; no driver) skipped: there is" \
        "no nvcc here; make deps CUDA=1 says what to install"
    echo "0 passed, 0 failed, 4 skipped"
    exit 0
fi

# As the Makefile's NVCC_NEEDED: with an older one nothing has been built.
found=$(nvcc --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')
if ! printf '%s\n' 12.8 "$found" | sort -VC; then
    echo "nvcc checks skipped: this is nvcc $found, and 12.8 or later is needed"
    echo "0 passed, 0 failed, 4 skipped"
    exit 0
fi

check() { # NAME COMMAND...
    local name=$1 out
    shift
    if out=$("$@" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        echo "$out"
    fi
}
linked() {
    local libraries
    libraries=$(ldd "$BUILD/device/rlhf") && ! grep "not found" <<< "$libraries" &&
        grep -q libcudart <<< "$libraries" && grep -q libcublas <<< "$libraries" && [ -x "$BUILD/device/gpu_tests" ]
}
# A CUDA binary where there is no GPU: one line, status 1.
says_no_gpu() {
    local out
    out=$("$BUILD/device/rlhf" sft configs/sft_arithmetic.json compute.device=cuda run.dir="$(mktemp -u)" 2>&1)
    [ $? = 1 ] && [ "$(wc -l <<< "$out")" = 1 ] && grep -Eq "^error: .*(driver|no GPU)" <<< "$out" || { echo "$out"; return 1; }
}
occupancy() {
    local nvcc
    nvcc=$(realpath "$(command -v nvcc)")
    ${CXX:-g++} -std=c++20 -I"${nvcc%/bin/nvcc}/include" tests/cuda_on_cpu/occupancy.cpp -o "$BUILD/occupancy" &&
        "$BUILD/occupancy"
}

check "the binary links with cudart, cuBLAS and NCCL" linked
check "blocks per multiprocessor" occupancy
if command -v python3 > /dev/null; then
    check "the table of kernels" tests/cuda_on_cpu/kernels.py check "$BUILD/device"
else
    echo "table of kernels skipped: there is no python3 here"
    skipped=$((skipped + 1))
fi
if [ -e /dev/nvidia0 ]; then
    echo "message without a GPU skipped: there is one; make test-gpu runs the kernels on it"
    skipped=$((skipped + 1))
else
    check "a machine without a GPU gets one clear line" says_no_gpu
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
