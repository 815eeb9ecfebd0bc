# rlhf.cpp: two commands do everything on a fresh Debian or Ubuntu machine.
#   make demo     packages, build, train the built-in tiny model, improve it by GRPO and by a Q-RM
#   make test     packages, build, all tests
# With CUDA=1 make builds for NVIDIA GPUs, too; make test-gpu runs the kernels' tests on one.
# Others: make (build only), make check (the fast tests), make format, make clean, make deps; for CI:
# make format-check, make layers, make asan, make cuda-asan, make cuda-check, make fuzz.

BUILD ?= build
CXX ?= g++
# The vectorised loops are compiled for the machine that builds; ARCH=x86-64-v3 gives a binary for any
# machine with AVX2. Never -ffast-math: NaN checks and reproducible sums depend on it.
ARCH ?= native
# -fno-tree-slp-vectorize: GCC 12 with AVX-512 gets some constant lists wrong ({2, 2, 0, 0} became
# {2, 2, 2, 2}); our loops do not need that pass.
OPT ?= -O3 -fno-math-errno -fno-trapping-math -fno-tree-slp-vectorize
# -Wno-restrict: GCC 12 warns wrongly about std::string (its bug 105651). -Wno-pass-failed: clang says so
# where it does not vectorise a simd loop, as at the -O1 of the fuzzers.
# What the build needs. CPPFLAGS, CXXFLAGS, LDFLAGS, LDLIBS and NVCCFLAGS are the user's: they stand behind it
# and so have the last word, given in the environment or to make.
FLAGS := -std=c++20 $(OPT) -march=$(ARCH) -fopenmp -Wall -Wextra -Wshadow -Werror -Isrc
FLAGS += $(if $(findstring clang,$(CXX)),-Wno-pass-failed,-Wno-restrict)
COMPILE = $(CXX) $(FLAGS) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP
LIBS := -fopenmp -ldnnl -lpcre2-8 -lutf8proc
LINK = $(CXX) -o $@ $(filter %.o,$^) $(LINK_FLAGS) $(LDFLAGS) $(LIBS) $(LDLIBS)
JOBS ?= $(shell nproc)

SOURCES := $(filter-out src/app/main.cpp,$(wildcard src/*/*.cpp src/app/*/*.cpp))
TESTS := $(filter-out tests/cuda/% tests/cuda_on_cpu/%,$(wildcard tests/*.cpp tests/*/*_test.cpp tests/app/*/*_test.cpp))
FUZZERS := $(patsubst tests/fuzz/%_fuzz.cpp,%,$(wildcard tests/fuzz/*_fuzz.cpp))
OBJECTS := $(SOURCES:%.cpp=$(BUILD)/%.o)
TEST_OBJECTS := $(TESTS:%.cpp=$(BUILD)/%.o)
FORMATTED := $(wildcard src/*/*.h src/*/*.cpp src/*/*/*.h src/*/*/*.cpp cuda/*.h cuda/*.cuh cuda/*.cu \
	tests/*.h tests/*.cpp tests/*/*.h tests/*/*.cpp tests/*/*/*.h tests/*/*/*.cpp)
PACKAGES := g++ make libdnnl-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libgtest-dev
PACKAGES += $(if $(CUDA),libopenmpi-dev openmpi-bin)

STANDIN := $(BUILD)/standin
KERNELS := $(wildcard cuda/*.cu)
RUNTIME := $(filter-out %_test.cpp %/checker.cpp %/occupancy.cpp,$(wildcard tests/cuda_on_cpu/*.cpp))
CHECKER := tests/cuda_on_cpu/checker.cpp tests/cuda_on_cpu/checker_test.cpp
CUDA_TESTS := $(wildcard tests/cuda/*_test.cpp)
HOST_OBJECTS := $(filter-out %/without_gpu.o,$(OBJECTS))
# Several GPUs: processes that mpirun starts. Without Open MPI the binary is one process.
MPICXX := $(shell command -v mpicxx)
MPI_OBJECT := $(BUILD)/src/dist/mpi/processes.o
GPU_HOST_OBJECTS := $(if $(MPICXX),$(filter-out %/one_process.o,$(HOST_OBJECTS)) $(MPI_OBJECT),$(HOST_OBJECTS))
STANDIN_OBJECTS := $(KERNELS:%.cu=$(STANDIN)/%.o) $(RUNTIME:%.cpp=$(STANDIN)/%.o)
STANDIN_TESTS := $(CUDA_TESTS) $(filter-out $(CHECKER),$(wildcard tests/cuda_on_cpu/*_test.cpp))
STANDIN_TEST_OBJECTS := $(STANDIN_TESTS:%.cpp=$(STANDIN)/%.o) $(BUILD)/tests/main.o
DEVICE := $(BUILD)/device
DEVICE_OBJECTS := $(KERNELS:%.cu=$(DEVICE)/%.o)
DEVICE_TEST_OBJECTS := $(CUDA_TESTS:%.cpp=$(DEVICE)/%.o) $(BUILD)/tests/main.o

all: $(BUILD)/rlhf

# With CUDA=1 the kernels as nvcc compiles them, else src/ops/without_gpu.cpp; $(BUILD)/backend says which.
$(BUILD)/rlhf: $(if $(CUDA),$(GPU_HOST_OBJECTS) $(DEVICE_OBJECTS),$(OBJECTS)) $(BUILD)/src/app/main.o $(BUILD)/backend
	$(LINK) $(if $(CUDA),$(CUDA_LIBS))
$(BUILD)/backend: FORCE
	@mkdir -p $(@D)
	@echo "$(if $(CUDA),CUDA,CPU)" | cmp -s - $@ || echo "$(if $(CUDA),CUDA,CPU)" > $@

$(BUILD)/unit_tests: $(OBJECTS) $(TEST_OBJECTS)
	$(LINK) -lgtest

# ---- CUDA kernels on the CPU: cuda/*.cu compiled by g++ against the stand-in runtime in tests/cuda_on_cpu.
# cuda_tests holds the tests of the kernels and of the runtime; rlhf_standin is rlhf with compute.device=cuda.
$(BUILD)/cuda_tests: $(HOST_OBJECTS) $(STANDIN_OBJECTS) $(STANDIN_TEST_OBJECTS)
	$(LINK) -rdynamic -lgtest

$(BUILD)/rlhf_standin: $(HOST_OBJECTS) $(STANDIN_OBJECTS) $(BUILD)/src/app/main.o
	$(LINK)

# The engine switches stacks: ASan is told of it, and leaves its code alone.
ASAN := $(findstring address,$(OPT))
STANDIN_COMPILE = $(CXX) -Itests/cuda_on_cpu/include $(FLAGS) -Itests -Wno-unknown-pragmas $(CPPFLAGS) $(CXXFLAGS) -MMD -MP
$(STANDIN)/%.o: FLAGS += $(if $(ASAN),-DCUSIM_ASAN)
$(STANDIN)/tests/cuda_on_cpu/engine.o: FLAGS += $(if $(ASAN),-fno-sanitize=address)
$(STANDIN)/tests/%.o: FLAGS += -O1
$(STANDIN)/tests/cuda_on_cpu/cublas.o: FLAGS += -O3
$(STANDIN)/%.o: %.cu
	@mkdir -p $(@D)
	$(STANDIN_COMPILE) -x c++ -c $< -o $@
$(STANDIN)/%.o: %.cpp
	@mkdir -p $(@D)
	$(STANDIN_COMPILE) -c $< -o $@

# The same with the access checker: kernels are compiled with -fsanitize=thread, and the calls that it puts
# before every access go to checker.cpp. Not PIE, so that an address is a line of the source.
CHECKED := $(BUILD)/checked
CHECKED_OBJECTS := $(KERNELS:%.cu=$(CHECKED)/%.o) $(CHECKER:%.cpp=$(CHECKED)/%.o)
$(BUILD)/cuda_checked: $(HOST_OBJECTS) $(RUNTIME:%.cpp=$(STANDIN)/%.o) $(STANDIN_TEST_OBJECTS) $(CHECKED_OBJECTS)
	$(LINK) -no-pie -lgtest
$(filter-out %/checker.o,$(CHECKED_OBJECTS)): FLAGS += -O1 -g -fsanitize=thread -Wno-tsan
$(CHECKED)/%.o: %.cpp
	@mkdir -p $(@D)
	$(STANDIN_COMPILE) -c $< -o $@
$(CHECKED)/%.o: %.cu
	@mkdir -p $(@D)
	$(STANDIN_COMPILE) -x c++ -c $< -o $@

-include $(CHECKED_OBJECTS:.o=.d)
-include $(STANDIN_OBJECTS:.o=.d) $(STANDIN_TEST_OBJECTS:.o=.d)

# ---- CUDA with nvcc: one object holds the code of an A100, an H100 and a B200, and PTX for what comes
# later. Warnings are errors, those of ptxas about spills and local memory, too. The PTX and the report of
# ptxas stay beside the object, for the table of kernels.
NVCC ?= nvcc
HAS_NVCC := $(shell command -v $(NVCC))
CUDA_HOME ?= $(patsubst %/bin/nvcc,%,$(realpath $(HAS_NVCC)))
CUDA_LIBS = -L$(CUDA_HOME)/lib64 -Wl,-rpath,$(CUDA_HOME)/lib64 -lcudart -lcublas -lcublasLt -lnccl
CUDA_LIBS += $(if $(MPICXX),$(shell $(MPICXX) --showme:link))
$(MPI_OBJECT): FLAGS += $(patsubst -I%,-isystem%,$(shell $(MPICXX) --showme:compile))
NVCC_FLAGS := -std=c++20 -O3 -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 \
	-gencode arch=compute_100,code=[sm_100,compute_100] --Werror all-warnings \
	-Xptxas -v,-warn-spills,-warn-lmem-usage,-Werror -Xcompiler -Wall -Isrc
$(DEVICE)/%.o: %.cu
	@mkdir -p $(@D) $(@:.o=.kept)
	$(NVCC) $(NVCC_FLAGS) $(NVCCFLAGS) -MMD -MP -MF $(@:.o=.d) --keep --keep-dir $(@:.o=.kept) -c $< -o $@ > $(@:.o=.log) 2>&1 || \
		{ grep -v "^ptxas info\|bytes stack frame" $(@:.o=.log); rm -f $@; exit 1; }
	@mv $(@:.o=.kept)/*.compute_80.ptx $(@:.o=.ptx) && rm -rf $(@:.o=.kept)
$(DEVICE)/%.o: FLAGS += -O1 -Itests -isystem $(CUDA_HOME)/include
$(DEVICE)/%.o: %.cpp
	@mkdir -p $(@D)
	$(COMPILE) -c $< -o $@
$(DEVICE)/rlhf: $(GPU_HOST_OBJECTS) $(DEVICE_OBJECTS) $(BUILD)/src/app/main.o
	$(LINK) $(CUDA_LIBS)
$(DEVICE)/gpu_tests: $(GPU_HOST_OBJECTS) $(DEVICE_OBJECTS) $(DEVICE_TEST_OBJECTS)
	$(LINK) $(CUDA_LIBS) -lgtest

-include $(DEVICE_OBJECTS:.o=.d) $(DEVICE_TEST_OBJECTS:.o=.d)

# What runs once per command or per file is compiled for a short build, not for speed.
SHORT_BUILD := src/app src/report src/task src/rl src/train tests
$(SHORT_BUILD:%=$(BUILD)/%/%.o): FLAGS += -O1
$(BUILD)/tests/%.o: FLAGS += -Itests

$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(COMPILE) -c $< -o $@

-include $(OBJECTS:.o=.d) $(TEST_OBJECTS:.o=.d) $(BUILD)/src/app/main.d

# Installs what is missing, and says nothing when nothing is.
deps:
	@command -v dpkg > /dev/null || { echo "not a Debian system: install these yourself: $(PACKAGES)"; exit 0; }; \
	missing=$$(for p in $(PACKAGES); do dpkg -s $$p > /dev/null 2>&1 || echo $$p; done); \
	[ -z "$$missing" ] && exit 0; \
	sudo=$$([ $$(id -u) = 0 ] || echo sudo); \
	$$sudo apt-get update -q && $$sudo apt-get install -y -q $$missing
	@[ -z "$(CUDA)" ] || [ -n "$(HAS_NVCC)" ] || tests/cuda_on_cpu/install_cuda.sh

# Supervised training, demonstrations with faults, GRPO that mends them; then pairs, a Q-RM and an ORM from
# them, and REINFORCE with either.
demo: deps
	@$(MAKE) -s -j$(JOBS) $(BUILD)/rlhf
	@rm -rf checkpoints/demo && mkdir -p checkpoints/demo
	$(BUILD)/rlhf sft configs/sft_arithmetic.json run.dir=checkpoints/demo/sft
	$(BUILD)/rlhf generate model.path=checkpoints/demo/sft prompt="+52-64>71" sample.temperature=0
	$(BUILD)/rlhf eval configs/eval_arithmetic.json model.path=checkpoints/demo/sft
	$(BUILD)/rlhf sft configs/sft_arithmetic_faulty.json model.path=checkpoints/demo/sft run.dir=checkpoints/demo/faulty
	$(BUILD)/rlhf rl configs/grpo_arithmetic.json model.path=checkpoints/demo/faulty run.dir=checkpoints/demo/grpo
	$(BUILD)/rlhf report checkpoints/demo/grpo
	$(BUILD)/rlhf reproduce configs/demo_qrm.json
	$(BUILD)/rlhf explain checkpoints/demo/qrm/seed-0/qrm
	$(BUILD)/rlhf report checkpoints/demo/qrm/seed-0/reinforce_qrm

# The learning tables of the README, about five minutes. Needs what make demo leaves.
learning: $(BUILD)/rlhf
	@RLHF=$(BUILD)/rlhf tests/learning.sh

# The tests of the command line run the binary that RLHF names. Waiting threads sleep: on a machine that
# does other things, too, threads that spin make tiny tests slow.
TEST_ENV := OMP_WAIT_POLICY=passive
TEST_PROGRAMS := $(BUILD)/rlhf $(BUILD)/unit_tests $(BUILD)/rlhf_standin $(BUILD)/cuda_tests
DEVICE_PROGRAMS := $(if $(HAS_NVCC),$(DEVICE)/rlhf $(DEVICE)/gpu_tests)
test: deps
	@$(MAKE) -s -j$(JOBS) $(TEST_PROGRAMS) $(DEVICE_PROGRAMS)
	@tests/layers.sh
	@BUILD=$(BUILD) $(TEST_ENV) tests/all.sh

# Suites that take long have names that end in Slow.
check:
	@$(MAKE) -s -j$(JOBS) $(TEST_PROGRAMS)
	@tests/layers.sh
	@BUILD=$(BUILD) $(TEST_ENV) tests/all.sh fast

# The kernels' tests on a GPU, then under compute-sanitizer if it is there.
test-gpu:
	@[ -n "$(HAS_NVCC)" ] || { echo "test-gpu needs nvcc; make deps CUDA=1 says what to install"; exit 1; }
	@$(MAKE) -s -j$(JOBS) $(DEVICE)/rlhf $(DEVICE)/gpu_tests
	@BUILD=$(BUILD) tests/all.sh gpu

# Writes tests/cuda_on_cpu/kernels.txt anew from what nvcc says and from the launches of the tests.
kernel-table: $(DEVICE_OBJECTS) $(BUILD)/cuda_tests $(BUILD)/rlhf_standin
	@rm -f $(DEVICE)/launches
	@CUSIM_LAUNCHES=$(DEVICE)/launches RLHF=$(BUILD)/rlhf_standin $(BUILD)/cuda_tests --gtest_brief=1 --gtest_filter='Gpu*' > /dev/null
	@tests/cuda_on_cpu/kernels.py write $(DEVICE)

layers:
	@tests/layers.sh

format:
	clang-format -i $(FORMATTED)

format-check:
	@command -v clang-format > /dev/null || { echo "format check skipped: there is no clang-format here"; exit 0; }; \
	clang-format --dry-run -Werror $(FORMATTED) && echo "format: $(words $(FORMATTED)) files are fine"

# Address and undefined-behaviour sanitizers, in a build directory of their own.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
ASAN_MAKE := $(MAKE) -s -j$(JOBS) BUILD=build-asan OPT="-O1 $(SANITIZE)" LINK_FLAGS="$(SANITIZE)"
ASAN_ENV := $(TEST_ENV) ASAN_OPTIONS=allocator_may_return_null=1
asan:
	@$(ASAN_MAKE) build-asan/rlhf build-asan/unit_tests
	@$(ASAN_ENV) RLHF=build-asan/rlhf build-asan/unit_tests --gtest_brief=1 --gtest_filter='-*Slow.*'

# The same for the kernels: every device allocation has red zones.
cuda-asan:
	@$(ASAN_MAKE) build-asan/rlhf_standin build-asan/cuda_tests
	@$(ASAN_ENV) RLHF=build-asan/rlhf_standin build-asan/cuda_tests --gtest_brief=1 --gtest_filter='-*Slow.*'

# Races, uninitialised reads and accesses outside of device memory, in the kernels.
cuda-check:
	@$(MAKE) -s -j$(JOBS) $(BUILD)/rlhf_standin $(BUILD)/cuda_checked
	@$(TEST_ENV) RLHF=$(BUILD)/rlhf_standin $(BUILD)/cuda_checked --gtest_brief=1 --gtest_filter='-*Slow.*'

# Each tests/fuzz/NAME_fuzz.cpp feeds one parser with libFuzzer's bytes for FUZZ_SECONDS. It needs clang.
FUZZ_SECONDS ?= 30
FUZZ_FLAGS := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
fuzz:
	@command -v clang++ > /dev/null || { echo "fuzzing skipped: there is no clang++ here"; exit 0; }; \
	$(MAKE) -s -j$(JOBS) BUILD=build-fuzz CXX=clang++ OPT="$(FUZZ_FLAGS)" $(FUZZERS:%=build-fuzz/%_fuzz) && \
	for name in $(FUZZERS); do tests/fuzz/run.sh build-fuzz/$${name}_fuzz $(FUZZ_SECONDS) || exit 1; done

$(BUILD)/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(OBJECTS)
	$(LINK) -fsanitize=fuzzer,address,undefined

clean:
	rm -rf $(BUILD)

.PHONY: FORCE all deps demo learning test test-gpu kernel-table check layers format format-check asan cuda-asan cuda-check fuzz clean
.SECONDARY:
