#!/usr/bin/env bash
# A Slurm of one node, for the tests: `tests/slurm.sh FOLDER start`, `export SLURM_CONF=FOLDER/slurm.conf`, and
# `tests/slurm.sh FOLDER stop`. All that it writes lies in FOLDER, and it listens on loopback only. It needs Debian's
# munge, slurmctld, slurmd and slurm-client, and neither systemd nor a database: sacct knows nothing.
set -euo pipefail
folder=$(realpath -m "$1")
export SLURM_CONF=$folder/slurm.conf PATH=$PATH:/usr/sbin

if [ "$2" = stop ]; then
  for pid in "$folder"/slurmd.pid "$folder"/slurmctld.pid "$folder"/munged.pid; do
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
cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmctldPort=$(port)
SlurmdPort=$(port)
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
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
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
munged --force --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" --num-threads=2
slurmctld
slurmd
for _ in $(seq 100); do
  [ "$(sinfo -h -o %t 2>/dev/null)" = idle ] && exit 0
  sleep 0.2
done
echo "no Slurm here: the node is $(sinfo -h -o '%t %E' 2>&1), see $folder"
"$0" "$folder" stop
exit 3
