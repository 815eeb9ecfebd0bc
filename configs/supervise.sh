#!/bin/bash
# Starts a run of several processes and, when a process or a host dies, starts it again from its newest
# checkpoint, with the hosts that answer. The command must have run.dir=DIR and gets run.resume=true.
#
#     RANKS=8 [HOSTS=a,b,c] [TRIES=3] configs/supervise.sh build/rlhf rl CONFIG run.dir=DIR ...
#
# Again: 75 a rank has gone silent, 77 an error of one rank, 137 killed, 143 terminated, 205 a host is lost; at most
# TRIES times without a new checkpoint in between. Not again: 0 done; 1 the input, 2 a check, 3 training that
# diverged: a human has to look, and the newest checkpoint is from before.
set -u
: "${RANKS:=2}" "${HOSTS:=}" "${TRIES:=3}"
run=
for word in "$@"; do
    case $word in run.dir=*) run=${word#run.dir=} ;; esac
done
[ -n "$run" ] || { echo "supervise.sh: name the run directory on the command line: run.dir=DIR" >&2; exit 1; }

# A host that is switched off is noticed in about 12 seconds, not in 8 minutes.
alive="--mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3"
newest() { ls "$run/checkpoints" 2> /dev/null | grep -E '^[0-9]+$' | tail -1; }

tries=0
while :; do
    before=$(newest)
    where=()
    if [ -n "$HOSTS" ]; then
        answering=
        for host in ${HOSTS//,/ }; do
            if ssh -o BatchMode=yes -o ConnectTimeout=5 "$host" true; then
                answering=$answering,$host
            else
                echo "supervise.sh: $host does not answer and is left out" >&2
            fi
        done
        [ -n "$answering" ] || { echo "supervise.sh: no host of $HOSTS answers" >&2; exit 205; }
        where=(--host "${answering#,}")
    fi
    # shellcheck disable=SC2086
    mpirun --oversubscribe $alive ${MPIRUN_FLAGS:-} "${where[@]}" -n "$RANKS" "$@" run.resume=true
    status=$?
    case $status in
    75 | 77 | 137 | 143 | 205) ;;
    *) exit $status ;;
    esac
    [ "$(newest)" = "$before" ] || tries=0
    tries=$((tries + 1))
    if [ $tries -gt "$TRIES" ]; then
        echo "supervise.sh: status $status $tries times without a new checkpoint in $run; giving up" >&2
        exit $status
    fi
    echo "supervise.sh: status $status; starting again from ${before:-the start} (try $tries of $TRIES)" >&2
    sleep "${PAUSE:-2}"
done
