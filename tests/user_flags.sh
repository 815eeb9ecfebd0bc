#!/bin/bash
# What a user gives to make, or has in the environment, is added to what the build needs and has the last word.
# Nothing is built: make only says what it would run. Ends with a closing line of the usual form.
cd "$(dirname "$0")/.." || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
passed=0 failed=0

# WHERE PATTERN TARGET SETTING...: the command that makes TARGET matches the pattern.
check() {
    local where=$1 pattern=$2 target=$3 command
    shift 3
    if [ "$where" = make ]; then
        command=$(make -n -B BUILD=build "$target" "$@" 2>&1)
    else
        command=$(env "$@" make -n -B BUILD=build "$target" 2>&1)
    fi
    if grep -E -- "-o $target( |$)" <<< "$command" | grep -Eq -- "$pattern"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $target with $* ($where): no \"$pattern\" in:"
        tail -1 <<< "$command" | cut -c1-1000
    fi
}
for where in make environment; do
    check $where '-std=c\+\+20 .*-O3 .*-fopenmp .*-Isrc .*-O2 ' build/src/ops/gemm.o CXXFLAGS=-O2
    check $where '-Isrc .*-O1 -Itests .*-DUSER -Og' build/tests/base/rng_test.o CXXFLAGS=-Og CPPFLAGS=-DUSER
    check $where '-Isrc .*-DUSER ' build/src/base/check.o CPPFLAGS=-DUSER
    check $where '-Luser .*-fopenmp -ldnnl .*-luser' build/rlhf LDFLAGS=-Luser LDLIBS=-luser
done
check make '-march=x86-64-v3' build/src/ops/gemm.o ARCH=x86-64-v3
check make 'clang\+\+ .*-Wno-pass-failed' build/src/ops/gemm.o CXX=clang++
check make 'clang\+\+ .*-Wno-pass-failed.* -O2' build/src/ops/gemm.o CXX=clang++ CXXFLAGS=-O2
echo "$passed passed, $failed failed, 0 skipped"
[ $failed = 0 ]
