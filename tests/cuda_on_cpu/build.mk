# CUDA kernels on the CPU: cuda/*.cu compiled by g++ against the stand-in runtime in tests/cuda_on_cpu.
# cuda_tests holds the tests of the kernels and of the runtime; rlhf_standin is rlhf with compute.device=cuda.

STANDIN := $(BUILD)/standin
RUNTIME := $(filter-out %_test.cpp %/checker.cpp %/occupancy.cpp,$(wildcard tests/cuda_on_cpu/*.cpp))
CHECKER := tests/cuda_on_cpu/checker.cpp tests/cuda_on_cpu/checker_test.cpp
STANDIN_OBJECTS := $(KERNELS:%.cu=$(STANDIN)/%.o) $(RUNTIME:%.cpp=$(STANDIN)/%.o)
STANDIN_TESTS := $(CUDA_TESTS) $(filter-out $(CHECKER),$(wildcard tests/cuda_on_cpu/*_test.cpp))
STANDIN_TEST_OBJECTS := $(STANDIN_TESTS:%.cpp=$(STANDIN)/%.o) $(BUILD)/tests/main.o

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

# Writes tests/cuda_on_cpu/kernels.txt anew from what nvcc says and from the launches of the tests.
kernel-table: $(DEVICE_OBJECTS) $(BUILD)/cuda_tests $(BUILD)/rlhf_standin
	@rm -f $(DEVICE)/launches
	@CUSIM_LAUNCHES=$(DEVICE)/launches RLHF=$(BUILD)/rlhf_standin $(BUILD)/cuda_tests --gtest_brief=1 --gtest_filter='Gpu*' > /dev/null
	@tests/cuda_on_cpu/kernels.py write $(DEVICE)

# make asan for the kernels: every device allocation has red zones.
cuda-asan:
	@$(ASAN_MAKE) build-asan/rlhf_standin build-asan/cuda_tests
	@$(ASAN_ENV) RLHF=build-asan/rlhf_standin build-asan/cuda_tests --gtest_brief=1 --gtest_filter='-*Slow.*'

# Races, uninitialised reads and accesses outside of device memory, in the kernels.
cuda-check:
	@$(MAKE) -s -j$(JOBS) $(BUILD)/rlhf_standin $(BUILD)/cuda_checked
	@$(TEST_ENV) RLHF=$(BUILD)/rlhf_standin $(BUILD)/cuda_checked --gtest_brief=1 --gtest_filter='-*Slow.*'

.PHONY: kernel-table cuda-asan cuda-check
