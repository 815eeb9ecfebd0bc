#!/bin/bash
# Several hosts on one machine: a network namespace with a host name of its own for each, joined by a bridge;
# mpirun enters them as it would log into a host. Needs root and ip (iproute2); 99: it cannot be done here.
#
#     tests/dist/hosts.sh HOSTS RANKS_PER_HOST COMMAND...     as mpirun ends
#     CUT=SECONDS  after so long the last host's cable is pulled
set -u
hosts=$1 each=$2
shift 2
name=rh$$
cannot() { echo "hosts.sh: $1" >&2; exit 99; }
[ "$(id -u)" = 0 ] || cannot "network namespaces need root"
command -v ip > /dev/null || cannot "there is no ip command"
work=$(mktemp -d)
cleanup() {
    # Only what runs in the namespaces made here.
    for i in $(seq "$hosts"); do
        for process in $(ip netns pids $name-$i 2> /dev/null); do kill -9 "$process" 2> /dev/null; done
        ip netns del $name-$i 2> /dev/null
    done
    ip link del $name 2> /dev/null
    rm -rf "$work"
}
trap cleanup EXIT
ip link add $name type bridge 2> /dev/null || cannot "no bridge can be made"
ip link set $name up
net=10.$((64 + $$ / 250 % 128)).$(($$ % 250))
# mpirun runs in the first one.
list=
for i in $(seq "$hosts"); do
    ip netns add $name-$i || cannot "no network namespace can be made"
    ip link add ${name}v$i type veth peer name eth0 netns $name-$i || cannot "no pair of interfaces can be made"
    ip link set ${name}v$i master $name up
    ip -n $name-$i addr add "$net.$i/24" dev eth0
    ip -n $name-$i link set eth0 up
    ip -n $name-$i link set lo up
    list=$list,$net.$i:$each
done
cat > "$work/agent" << AGENT
#!/bin/bash
# mpirun calls: agent HOST COMMAND...
host=\$1
shift
exec nsenter --net=/run/netns/$name-\${host##*.} unshare --uts bash -c 'hostname host'\${host##*.}'; exec /bin/sh -c "\$*"' agent "\$@"
AGENT
chmod +x "$work/agent"
if [ -n "${CUT:-}" ]; then
    (sleep "$CUT"; echo "hosts.sh: the cable of host$hosts is pulled" >&2; date +%s.%N > "${CUT_TIME:-$work/cut}"; ip link set ${name}v$hosts down) &
fi
# Tests that count several ranks as a machine of their own must not.
nsenter --net=/run/netns/$name-1 unshare --uts bash -c 'hostname host1; exec "$@"' bash \
    mpirun --allow-run-as-root --oversubscribe --bind-to none --mca plm_rsh_agent "$work/agent" \
    --mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth0 --mca btl self,vader,tcp \
    --mca oob_tcp_keepalive_time 5 --mca oob_tcp_keepalive_intvl 2 --mca oob_tcp_keepalive_probes 3 \
    -n $((hosts * each)) --host "${list#,}" "$@"
