#!/bin/bash
# Renders both pages of a run in headless Chromium: the pages must come up without an error of the browser,
# with every chart, token and switch in them, in light and dark, narrow and on paper, and what they say must be
# visible: legends, and no text over text (visible.js). Pictures go to OUT for the eye. Ends with a closing
# line of the usual form.
#   tests/report/browser.sh [RUN] [OUT]
cd "$(dirname "$0")/../.." || exit 1
run=${1:-tests/golden/run} rlhf=${RLHF:-build/rlhf}
chromium=$(command -v chromium || command -v chromium-browser || command -v google-chrome) || {
    echo "browser: skipped, there is no chromium here (apt-get install chromium)"
    echo "0 passed, 0 failed, 1 skipped"
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
# PAGE WIDTH [CSS]: what visible.js says of the page. It runs in a copy without the policy that forbids scripts.
look() {
    { sed 's/<meta http-equiv="Content-Security-Policy"[^>]*>//; s/<\/body>.*//' "$1"
      echo "<style>$3</style><script>"
      cat tests/report/visible.js
      echo "</script></body></html>"; } > "$scratch/looked.html"
    browse --window-size="$2",2400 --dump-dom "file://$scratch/looked.html" | grep -o '<title>[^<]*' | head -1 | cut -c8-
}
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
    for width in 1300 500; do
        found=$(look "$scratch/$page.html" $width)
        [[ $found == "checked "*"; no findings" ]] || wrong "$page, $width wide: $found"
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
# The look finds what it looks for: hidden legends, and labels too large for their place.
[[ $(look "$scratch/report.html" 1300 '.legend { display: none; }') == *"a legend of 0 visible entries"* ]] ||
    wrong "hidden legends are not found"
[[ $(look "$scratch/report.html" 1300 '.axes text { font-size: 40px; }') == *" lies over "* ]] ||
    wrong "text over text is not found"
# Nothing but the file itself: a page without a network shows the same.
grep -lE 'https?:|<script|src=|@import' "$scratch"/{report,explain}.html && wrong "a page asks for something outside"
[ $bad = 0 ] && echo "browser: report and explain of $run come up in light, dark, narrow and print; all is visible"
[ $bad = 0 ] && echo "1 passed, 0 failed, 0 skipped" || echo "0 passed, 1 failed, 0 skipped"
exit $bad
