# rlhf.cpp: two commands do everything on a fresh Debian or Ubuntu machine.
#   make demo     packages, build, train the built-in tiny model and sample it
#   make test     packages, build, all tests
# Others: make (build only), make check (fast tests), make format, make clean, make deps.

BUILD ?= build
CXX ?= g++
# The vectorised loops are compiled for the machine that builds; ARCH=x86-64-v3 gives a binary for any
# machine with AVX2. Never -ffast-math: NaN checks and reproducible sums depend on it.
ARCH ?= native
OPT ?= -O3 -fno-math-errno -fno-trapping-math
# -Wno-restrict: GCC 12 warns wrongly about std::string (its bug 105651).
CXXFLAGS += -std=c++20 $(OPT) -march=$(ARCH) -g1 -fopenmp -Wall -Wextra -Wshadow -Werror -Wno-restrict -Isrc
LDLIBS += -fopenmp -ldnnl -lpcre2-8 -lutf8proc

SOURCES := $(filter-out src/app/main.cpp,$(wildcard src/*/*.cpp))
TESTS := $(wildcard tests/*.cpp tests/*/*_test.cpp)
OBJECTS := $(SOURCES:%.cpp=$(BUILD)/%.o)
TEST_OBJECTS := $(TESTS:%.cpp=$(BUILD)/%.o)

all: $(BUILD)/rlhf

$(BUILD)/rlhf: $(OBJECTS) $(BUILD)/src/app/main.o
	$(CXX) -o $@ $^ $(LDFLAGS) $(LDLIBS)

$(BUILD)/unit_tests: $(OBJECTS) $(TEST_OBJECTS)
	$(CXX) -o $@ $^ $(LDFLAGS) $(LDLIBS) -lgtest

$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) $(if $(filter tests/%,$<),-Itests) -MMD -MP -c $< -o $@

-include $(OBJECTS:.o=.d) $(TEST_OBJECTS:.o=.d) $(BUILD)/src/app/main.d

clean:
	rm -rf $(BUILD)

.PHONY: all clean
