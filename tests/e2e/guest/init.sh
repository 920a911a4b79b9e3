# First process of a guest, read from the host at boot: file systems, network, shared folders, then the agent.
export HOME=/root LC_ALL=C.UTF-8
arg() { tr ' ' '\n' </proc/cmdline | sed -n "s|^$1=||p"; }
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs -o mode=1777 tmp /tmp
ln -sfn /proc/self/fd /dev/fd
hostname "$(arg guest.name)"
modprobe -a -q nfs nfsv3 nfsv4
ip link set lo up
ip addr add "$(arg guest.ip)/24" dev vec0
ip link set vec0 mtu 1500 up
mkdir -p /run/rpcbind
for dir in $(arg guest.share); do
    mkdir -p "$dir"
    mount -t hostfs -o "$dir" none "$dir"
done
# Not exec: this shell stays, so that orphans have a parent that reaps them.
/host/agent
echo o >/proc/sysrq-trigger
sleep 60
