# Serves /srv/exported by the guest's own kernel, and mounts it at /mnt/kernel; "stop" undoes it.
if [ "${1-}" = stop ]; then
    umount /mnt/kernel
    rpc.nfsd 0
    exportfs -ua
    killall rpc.mountd rpcbind
    rm -rf /srv/exported
    exit
fi
mkdir -p /srv/exported /mnt/kernel
chmod 755 /srv /srv/exported
sed -i '/manage-gids/d' /etc/nfs.conf # or groups are looked up here, where those of the calls are unknown
modprobe nfsd
mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
pgrep -x rpcbind >/dev/null || rpcbind -w
exportfs -i -o rw,no_root_squash,insecure,no_subtree_check,fsid=1 '*:/srv/exported'
rpc.nfsd --no-nfs-version 4 2
pgrep -x rpc.mountd >/dev/null || rpc.mountd --no-nfs-version 4
mount -t nfs -o vers=3,nolock,tcp 127.0.0.1:/srv/exported /mnt/kernel
