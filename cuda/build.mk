# CUDA with nvcc: what CUDA=1 and the tests on a GPU are built of.

KERNELS := $(wildcard cuda/*.cu)
CUDA_TESTS := $(wildcard tests/cuda/*_test.cpp)
DEVICE := $(BUILD)/device
DEVICE_OBJECTS := $(KERNELS:%.cu=$(DEVICE)/%.o)
DEVICE_TEST_OBJECTS := $(CUDA_TESTS:%.cpp=$(DEVICE)/%.o) $(BUILD)/tests/main.o
HOST_OBJECTS := $(filter-out %/without_gpu.o,$(OBJECTS))

# One object holds the code of an A100, an H100 (sm_90a: with wgmma) and a B200, and PTX for what comes later. Warnings are
# errors, those of ptxas about spills and local memory, too. The PTX and the report of ptxas stay beside the
# object, for the table of kernels.
NVCC ?= nvcc
HAS_NVCC := $(shell command -v $(NVCC))
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(realpath $(HAS_NVCC)))
CUDA_LIBS = -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcudart -lcublas -lcublasLt -lnccl
# C++20 needs nvcc 12.0, code for a B200 (sm_100) 12.8.
NVCC_NEEDED := 12.8
NVCC_VERSION := $(if $(HAS_NVCC),$(shell $(NVCC) --version | sed -n 's/.*release \([0-9.]*\).*/\1/p'))
NVCC_IS_OLD := $(if $(HAS_NVCC),$(shell printf '%s\n' $(NVCC_NEEDED) "$(NVCC_VERSION)" | sort -VC || echo yes))
nvcc-version:
	@[ -n "$(HAS_NVCC)" ] || { echo "CUDA=1 needs nvcc $(NVCC_NEEDED) or later, and $(NVCC) is not in PATH;" \
		"make deps CUDA=1 installs it or says what to install" >&2; exit 1; }
	@[ -z "$(NVCC_IS_OLD)" ] || { echo "$(HAS_NVCC) is nvcc $(NVCC_VERSION); $(NVCC_NEEDED) or later is needed (C++20," \
		"code for sm_100): put a newer one first in PATH, or name it by NVCC=" >&2; exit 1; }
.PHONY: nvcc-version
NVCC_FLAGS := -std=c++20 -O3 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90a,code=sm_90a \
	-gencode arch=compute_100,code=[sm_100,compute_100] --Werror all-warnings \
	-Xptxas -v,-warn-spills,-warn-lmem-usage,-Werror -Xcompiler -Wall -Isrc
$(DEVICE)/%.o: %.cu | nvcc-version
	@mkdir -p $(@D) $(@:.o=.kept)
	$(NVCC) $(NVCC_FLAGS) $(NVCCFLAGS) -MMD -MP -MF $(@:.o=.d) --keep --keep-dir $(@:.o=.kept) -c $< -o $@ > $(@:.o=.log) 2>&1 || \
		{ grep -v "^ptxas info\|bytes stack frame" $(@:.o=.log); rm -f $@; exit 1; }
	@! nm $@ | grep -qw "U exit" || { echo "$<: host code calls a __device__ function, for which nvcc writes exit(1)" >&2; \
		rm -f $@; exit 1; }
	@cat $(@:.o=.kept)/*.compute_80.ptx $(@:.o=.kept)/*.compute_90a.ptx > $(@:.o=.ptx) && rm -rf $(@:.o=.kept)
$(DEVICE)/%.o: FLAGS += -O1 -Itests -isystem $(CUDA_HOME)/include
$(DEVICE)/%.o: %.cpp
	@mkdir -p $(@D)
	$(COMPILE) -c $< -o $@
$(DEVICE)/rlhf: $(HOST_OBJECTS) $(DEVICE_OBJECTS) $(BUILD)/src/app/main.o
	$(LINK) $(CUDA_LIBS)
$(DEVICE)/gpu_tests: $(HOST_OBJECTS) $(DEVICE_OBJECTS) $(DEVICE_TEST_OBJECTS)
	$(LINK) $(CUDA_LIBS) -lgtest

-include $(DEVICE_OBJECTS:.o=.d) $(DEVICE_TEST_OBJECTS:.o=.d)
