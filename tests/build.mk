# The tests' programs and what runs them; make test and make check are in the Makefile, the kernels on a CPU
# in tests/cuda_on_cpu/build.mk.

TESTS := $(filter-out tests/cuda/% tests/cuda_on_cpu/%,$(wildcard tests/*.cpp tests/*/*_test.cpp tests/app/*/*_test.cpp))
FUZZERS := $(patsubst tests/fuzz/%_fuzz.cpp,%,$(wildcard tests/fuzz/*_fuzz.cpp))
TEST_OBJECTS := $(TESTS:%.cpp=$(BUILD)/%.o)

$(BUILD)/unit_tests: $(OBJECTS) $(TEST_OBJECTS)
	$(LINK) -lgtest

# The tests of the command line run the binary that RLHF names. Waiting threads sleep: on a machine that
# does other things, too, threads that spin make tiny tests slow.
TEST_ENV := OMP_WAIT_POLICY=passive
TEST_PROGRAMS := $(BUILD)/rlhf $(BUILD)/unit_tests $(BUILD)/rlhf_standin $(BUILD)/cuda_tests
DEVICE_PROGRAMS := $(if $(HAS_NVCC),$(if $(NVCC_IS_OLD),,$(DEVICE)/rlhf $(DEVICE)/gpu_tests))

layers:
	@tests/layers.sh

# What can happen to several processes, at every place of a save; make test tries some.
faults:
	@$(MAKE) -s -j$(JOBS) $(BUILD)/rlhf $(BUILD)/unit_tests
	@RLHF_FAULTS=all RLHF=$(BUILD)/rlhf $(TEST_ENV) $(BUILD)/unit_tests --gtest_brief=1 --gtest_filter='Faults*'

# The kernels' tests on a GPU, then under compute-sanitizer if it is there.
test-gpu:
	@[ -n "$(HAS_NVCC)" ] || { echo "test-gpu needs nvcc; make deps CUDA=1 says what to install"; exit 1; }
	@$(MAKE) -s -j$(JOBS) $(DEVICE)/rlhf $(DEVICE)/gpu_tests
	@BUILD=$(BUILD) tests/all.sh gpu

# Address and undefined-behaviour sanitizers, in a build directory of their own.
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
ASAN_MAKE := $(MAKE) -s -j$(JOBS) BUILD=build-asan OPT="-O1 $(SANITIZE)" LINK_FLAGS="$(SANITIZE)"
ASAN_ENV := $(TEST_ENV) ASAN_OPTIONS=allocator_may_return_null=1
asan:
	@$(ASAN_MAKE) build-asan/rlhf build-asan/unit_tests
	@$(ASAN_ENV) RLHF=build-asan/rlhf build-asan/unit_tests --gtest_brief=1 --gtest_filter='-*Slow.*'

# Each tests/fuzz/NAME_fuzz.cpp feeds one parser with libFuzzer's bytes for FUZZ_SECONDS. It needs clang.
FUZZ_SECONDS ?= 30
FUZZ_FLAGS := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
fuzz:
	@command -v clang++ > /dev/null || { echo "fuzzing skipped: there is no clang++ here"; exit 0; }; \
	$(MAKE) -s -j$(JOBS) BUILD=build-fuzz CXX=clang++ OPT="$(FUZZ_FLAGS)" $(FUZZERS:%=build-fuzz/%_fuzz) && \
	for name in $(FUZZERS); do tests/fuzz/run.sh build-fuzz/$${name}_fuzz $(FUZZ_SECONDS) || exit 1; done

$(BUILD)/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(OBJECTS)
	$(LINK) -fsanitize=fuzzer,address,undefined

.PHONY: layers faults test-gpu asan fuzz
