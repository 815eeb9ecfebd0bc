# rlhf.cpp: two commands do everything on a fresh Debian or Ubuntu machine.
#   make demo     packages, build, train the built-in tiny model, improve it by GRPO and by a Q-RM
#   make test     packages, build, all tests
# With CUDA=1 make builds for NVIDIA GPUs, too; make test-gpu runs the kernels' tests on one.
# Others: make (build only), make check (the fast tests), make format, make clean, make deps; for CI:
# make format-check, make layers, make faults, make asan, make cuda-asan, make cuda-check, make fuzz.

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
LIBS = -fopenmp -ldnnl -lpcre2-8 -lutf8proc $(MPI_LIBS)
LINK = $(CXX) -o $@ $(filter %.o,$^) $(LINK_FLAGS) $(LDFLAGS) $(LIBS) $(LDLIBS)
JOBS ?= $(shell nproc)

# Several processes (mpirun) where there is Open MPI; without it the binary is one process.
MPICXX := $(shell command -v mpicxx)
WITHOUT := src/app/main.cpp $(if $(MPICXX),src/dist/one_process.cpp,src/dist/mpi/%)
SOURCES := $(filter-out $(WITHOUT),$(wildcard src/*/*.cpp src/app/*/*.cpp src/dist/mpi/*.cpp src/text/*/*.cpp))
MPI_LIBS := $(if $(MPICXX),$(shell $(MPICXX) --showme:link))
$(BUILD)/src/dist/mpi/%.o: FLAGS += $(patsubst -I%,-isystem%,$(shell $(MPICXX) --showme:compile))
OBJECTS := $(SOURCES:%.cpp=$(BUILD)/%.o)
FORMATTED := $(wildcard src/*/*.h src/*/*.cpp src/*/*/*.h src/*/*/*.cpp cuda/*.h cuda/*.cuh cuda/*.cu \
	tests/*.h tests/*.cpp tests/*/*.h tests/*/*.cpp tests/*/*/*.h tests/*/*/*.cpp)
PACKAGES := g++ make libdnnl-dev nlohmann-json3-dev libpcre2-dev libutf8proc-dev libgtest-dev
PACKAGES += libopenmpi-dev openmpi-bin

all: $(BUILD)/rlhf

include cuda/build.mk tests/build.mk tests/cuda_on_cpu/build.mk

# With CUDA=1 the kernels as nvcc compiles them, else src/ops/without_gpu.cpp; $(BUILD)/backend says which.
$(BUILD)/rlhf: $(if $(CUDA),$(HOST_OBJECTS) $(DEVICE_OBJECTS),$(OBJECTS)) $(BUILD)/src/app/main.o $(BUILD)/backend
	$(LINK) $(if $(CUDA),$(CUDA_LIBS))
$(BUILD)/backend: FORCE
	@mkdir -p $(@D)
	@echo "$(if $(CUDA),CUDA,CPU) $(MPI_LIBS)" | cmp -s - $@ || echo "$(if $(CUDA),CUDA,CPU) $(MPI_LIBS)" > $@

# What runs once per command or per file is compiled for a short build, not for speed.
SHORT_BUILD := src/text/jinja src/app src/report src/task src/rl src/train tests
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
	@[ -z "$(CUDA)" ] || { [ -n "$(HAS_NVCC)" ] && [ -z "$(NVCC_IS_OLD)" ]; } || \
		NVCC_FOUND="$(NVCC_VERSION)" tests/cuda_on_cpu/install_cuda.sh

# Supervised training, demonstrations with faults, GRPO that mends them; then pairs, a Q-RM and an ORM from
# them, and REINFORCE with either. What does not come out is said by the command that finds it, which ends it.
demo: deps
	@$(MAKE) -s -j$(JOBS) $(BUILD)/rlhf
	@rm -rf checkpoints/demo && mkdir -p checkpoints/demo
	$(BUILD)/rlhf sft configs/sft_arithmetic.json run.dir=checkpoints/demo/sft
	$(BUILD)/rlhf generate model.path=checkpoints/demo/sft prompt="+52-64>71" sample.temperature=0
	$(BUILD)/rlhf eval configs/eval_arithmetic.json model.path=checkpoints/demo/sft at_least=0.95
	$(BUILD)/rlhf sft configs/sft_arithmetic_faulty.json model.path=checkpoints/demo/sft run.dir=checkpoints/demo/faulty
	$(BUILD)/rlhf eval configs/eval_arithmetic.json model.path=checkpoints/demo/faulty at_least=0.2 at_most=0.55
	$(BUILD)/rlhf rl configs/grpo_arithmetic.json model.path=checkpoints/demo/faulty run.dir=checkpoints/demo/grpo
	$(BUILD)/rlhf eval configs/eval_arithmetic.json model.path=checkpoints/demo/grpo at_least=0.65
	$(BUILD)/rlhf report checkpoints/demo/grpo
	$(BUILD)/rlhf reproduce configs/demo_qrm.json
	$(BUILD)/rlhf explain checkpoints/demo/qrm/seed-0/qrm
	$(BUILD)/rlhf report checkpoints/demo/qrm/seed-0/reinforce_qrm
	@echo "demo: learnt. The sums, then GRPO and REINFORCE with a Q-RM out of faulty answers: all as it should be"

# The learning tables of configs/README.md: five first trainings, and every algorithm from each.
learning: $(BUILD)/rlhf
	@RLHF=$(BUILD)/rlhf tests/learning.sh

test: deps
	@$(MAKE) -s -j$(JOBS) $(TEST_PROGRAMS) $(DEVICE_PROGRAMS)
	@tests/layers.sh
	@BUILD=$(BUILD) $(TEST_ENV) tests/all.sh

# Suites that take long have names that end in Slow.
check:
	@$(MAKE) -s -j$(JOBS) $(TEST_PROGRAMS)
	@tests/layers.sh
	@BUILD=$(BUILD) $(TEST_ENV) tests/all.sh fast

format:
	clang-format -i $(FORMATTED)

format-check:
	@command -v clang-format > /dev/null || { echo "format check skipped: there is no clang-format here"; exit 0; }; \
	clang-format --dry-run -Werror $(FORMATTED) && echo "format: $(words $(FORMATTED)) files are fine"

clean:
	rm -rf $(BUILD)

.PHONY: FORCE all deps demo learning test check format format-check clean
.SECONDARY:
