#!/bin/bash
# The include rule: a folder of src/ includes only itself and what it stands on.
#   base <- {ops, format} <- model <- train <- {rollout, reward, rl, dist} <- app
#   base <- {credit, text, task, report} <- app;  credit <- {reward, rl};  format <- task
# and nothing includes cuda/.
cd "$(dirname "$0")/.." || exit 1
declare -A may=(
    [base]="base"
    [ops]="base ops"
    [text]="base text"
    [task]="base format text task"
    [format]="base format"
    [model]="base ops format model"
    [train]="base ops model train"
    [dist]="base ops model train dist"
    [rollout]="base ops model train rollout"
    [credit]="base credit"
    [reward]="base ops model train credit reward"
    [rl]="base ops model train credit rl"
    [report]="base report"
    [app]="base ops text task format model train dist rollout credit reward rl report app"
)
bad=0 count=0
for file in $(find src -name '*.h' -o -name '*.cpp' | sort); do
    folder=${file#src/} folder=${folder%%/*} count=$((count + 1))
    [ -n "${may[$folder]}" ] || { echo "layers: src/$folder is not in tests/layers.sh"; exit 1; }
    while IFS=: read -r line path; do
        case " ${may[$folder]} " in
        *" ${path%%/*} "*) ;;
        *) echo "$file:$line: src/$folder may not include \"$path\""; bad=1 ;;
        esac
    done < <(grep -n '^ *# *include *"' "$file" | sed 's/:[^"]*"\([^"]*\)".*/:\1/')
done
[ $bad = 0 ] && echo "layers: the includes of $count files keep the rule"
exit $bad
