#!/bin/bash
# Renders both pages of a run in headless Chromium: the pages must come up without an error of the browser,
# with every chart, token and switch in them, in light and dark and on paper. Pictures go to OUT for the eye.
#   tests/report/browser.sh [RUN] [OUT]
cd "$(dirname "$0")/../.." || exit 1
run=${1:-tests/golden/run} rlhf=${RLHF:-build/rlhf}
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "browser: skipped, there is no chromium here (apt-get install chromium)"
    exit 0
}
[ -x "$rlhf" ] || { echo "browser: $rlhf is missing; run make first"; exit 1; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
out=${2:-$scratch/out}
mkdir -p "$out"
browse() { # arguments of Chromium; standard output is the page's
    timeout 120 "$chromium" --headless=new --no-sandbox --disable-gpu --hide-scrollbars \
        --user-data-dir="$scratch/profile" --enable-logging=stderr --v=0 "$@" 2> "$scratch/log"
}
bad=0
wrong() { echo "browser: $1"; bad=1; }
for page in report explain; do
    "$rlhf" $page "$run" out="$scratch/$page.html" > /dev/null || exit 1
    file="file://$scratch/$page.html"
    browse --dump-dom "$file" > "$scratch/dom" || wrong "$page does not load"
    # Script errors, refused resources and the like are console messages.
    grep CONSOLE "$scratch/log" && wrong "$page: messages on the console"
    grep -q '</html>' "$scratch/dom" || wrong "$page: no whole page"
    for tag in svg figure input main; do # the browser kept what was written, nothing was mis-nested
        written=$(grep -o "<$tag[ >]" "$scratch/$page.html" | wc -l)
        kept=$(grep -o "<$tag[ >]" "$scratch/dom" | wc -l)
        [ "$written" = "$kept" ] || wrong "$page: $written <$tag> written, $kept in the browser"
    done
    browse --window-size=1300,2400 --screenshot="$out/$page-light.png" "$file" || wrong "$page: light"
    browse --window-size=1300,2400 --blink-settings=preferredColorScheme=0 \
        --screenshot="$out/$page-dark.png" "$file" || wrong "$page: dark"
    browse --window-size=420,2400 --screenshot="$out/$page-phone.png" "$file" || wrong "$page: phone"
    browse --no-pdf-header-footer --print-to-pdf="$out/$page.pdf" "$file" || wrong "$page: print"
    for picture in "$page-light.png" "$page-dark.png" "$page-phone.png" "$page.pdf"; do
        [ "$(stat -c %s "$out/$picture" 2> /dev/null || echo 0)" -gt 10000 ] || wrong "$picture is empty"
    done
    cmp -s "$out/$page-light.png" "$out/$page-dark.png" && wrong "$page: dark looks like light"
done
# Nothing but the file itself: a page without a network shows the same.
grep -lE 'https?:|<script|src=|@import' "$scratch"/*.html && wrong "a page asks for something outside"
[ $bad = 0 ] && echo "browser: report and explain of $run come up in light, dark, narrow and print"
exit $bad
