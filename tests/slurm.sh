#!/usr/bin/env bash
# A Slurm of two nodes, for the tests: `tests/slurm.sh FOLDER start`, `export SLURM_CONF=FOLDER/slurm.conf`, and
# `tests/slurm.sh FOLDER stop`. All that it writes lies in FOLDER. It needs Debian's munge, slurmctld, slurmd and
# slurm-client, and neither systemd nor a database: sacct knows nothing.
#
# For root the nodes are two machines but for kernel and disk: each has a host name and a file of hosts of its own, and
# the second a network of its own, with a cable to the first, which goes when it does. For others, and without `ip`, both
# are on loopback, and their names are addresses of it.
set -euo pipefail
folder=$(realpath -m "$1")
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin:/sbin

if [ "$2" = stop ]; then
  scancel --user="$(id -un)" 2>/dev/null || true
  for _ in $(seq 50); do
    [ "$(squeue -h 2>/dev/null)" ] || break
    sleep 0.1
  done
  for pid in "$folder"/slurmd-*.pid "$folder"/slurmctld.pid "$folder"/munged.pid; do
    [ -f "$pid" ] && kill "$(cat "$pid")" 2>/dev/null || true
  done
  exit
fi

for needed in munged slurmctld slurmd squeue; do
  command -v $needed >/dev/null || { echo "no Slurm here: $needed is missing"; exit 3; }
done
port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkdir -p "$folder/state" "$folder/spool"
chmod 755 "$folder"
head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 400 "$folder/munge.key"

cable() { # from here to a network of its own; the addresses are nobody's: they are there for benchmarks (RFC 2544)
  link=slurm$$ net=198.18.$(($$ / 64 % 256)) at=$(($$ % 64 * 4))
  addresses=("$net.$((at + 1))" "$net.$((at + 2))") networks=(/proc/$$/ns/net "$folder/net")
  there() { nsenter --net="$folder/net" "$@"; }
  touch "$folder/net" && unshare --net="$folder/net" ip link set lo up &&
    there ip link add eth0 type veth peer name $link netns $$ &&
    there ip address add "${addresses[1]}/30" dev eth0 && there ip link set eth0 up &&
    ip address add "${addresses[0]}/30" dev $link && ip link set $link up
}
on() { # NODE COMMAND...
  nsenter --net="${networks[$1]}" unshare --uts --mount \
    sh -c 'hostname $0 && mount --bind "$1" /etc/hosts && shift && exec "$@"' "${names[$1]}" "$folder/hosts" "${@:2}"
}
if cable 2>/dev/null; then
  trap 'umount "$folder/net"' EXIT # it lives on for the node that is in it
  names=(node1 node2) hosts=(node1 node2)
  printf '%s %s\n' 127.0.0.1 localhost "${addresses[0]}" node1 "${addresses[1]}" node2 >"$folder/hosts"
else
  umount "$folder/net" 2>/dev/null || true
  names=(127.0.0.1 127.0.0.2) hosts=("$(hostname -s)" "$(hostname -s)") addresses=(127.0.0.1 127.0.0.1)
  on() { "${@:2}"; }
fi

cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=${hosts[0]}(${addresses[0]})
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmctldPort=$(port)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
KillWait=1
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmdParameters=config_overrides
NodeName=${names[0]} NodeHostname=${hosts[0]} NodeAddr=${addresses[0]} Port=$(port) CPUs=1
NodeName=${names[1]} NodeHostname=${hosts[1]} NodeAddr=${addresses[1]} Port=$(port) CPUs=1
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" --num-threads=2
on 0 slurmctld
on 0 slurmd -N "${names[0]}"
on 1 slurmd -N "${names[1]}"
for _ in $(seq 100); do
  [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && exit 0
  sleep 0.2
done
echo "no Slurm here: the nodes are $(sinfo -h -N -o '%N %t %E' 2>&1), see $folder"
"$0" "$folder" stop
exit 3
