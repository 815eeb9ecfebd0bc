#!/bin/bash
# Runs the test programs of $BUILD one after another and ends with the sum of their closing lines:
# "N passed, N failed, N skipped". With the word "fast" the suites are left out whose names end in Slow; with
# "gpu" the kernels' tests run on a GPU instead, then under the tools of compute-sanitizer.
#
# The kernels run on the stand-in runtime in several orders of threads and streams: a missing barrier or a
# missing wait gives wrong numbers in one of them.
cd "$(dirname "$0")/.." || exit 1
: "${BUILD:=build}"
slow=; [ "$1" = fast ] && slow='-*Slow.*'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0 status=0

# run NAME COMMAND...: shows what it prints, takes its closing line into the sum.
run() {
    local name=$1 started=$SECONDS
    shift
    "$@" 2>&1 | tee "$log" | grep -Ev '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$|^\[=+\]|^\[  PASSED'
    [ "${PIPESTATUS[0]}" = 0 ] || status=1
    local line
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$log" | tail -1)
    # A program that ends without its line has crashed: that is a failure of its own.
    [ -n "$line" ] || { line="0 passed, 1 failed, 0 skipped"; status=1; }
    read -r p _ f _ s _ <<< "$line"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    echo "$name: $line ($((SECONDS - started)) s)"
}

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    exit $status
}

if [ "$1" = gpu ]; then
    gpu_tests=("$BUILD/device/gpu_tests" --gtest_brief=1)
    run "GPU tests" env RLHF="$BUILD/device/rlhf" "${gpu_tests[@]}"
    sanitizer=$(command -v compute-sanitizer)
    for tool in memcheck racecheck initcheck synccheck; do
        if [ -n "$sanitizer" ]; then
            run $tool "$sanitizer" --tool $tool --error-exitcode 1 "${gpu_tests[@]}" --gtest_filter='-*Slow.*'
        else
            echo "skipped: $tool: there is no compute-sanitizer here"
            skipped=$((skipped + 1))
        fi
    done
    finish
fi

run "user flags" tests/user_flags.sh
run "unit tests" env RLHF="$BUILD/rlhf" "$BUILD/unit_tests" --gtest_brief=1 --gtest_filter="${slow:-*}"
kernels() { # ORDER STREAMS FILTER
    run "kernels, threads $1, streams $2" env CUSIM_ORDER="$1" CUSIM_STREAMS="$2" RLHF="$BUILD/rlhf_standin" \
        "$BUILD/cuda_tests" --gtest_brief=1 --gtest_filter="$3"
}
kernels forward eager "${slow:-*}"
kernels reverse lazy "-*Slow.*"
kernels random random "-*Slow.*"
[ -n "$slow" ] || run "nvcc" tests/cuda_on_cpu/nvcc.sh
[ -n "$slow" ] || run "browser" env RLHF="$BUILD/rlhf" tests/report/browser.sh

finish
