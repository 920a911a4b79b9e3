#!/bin/bash
# Builds what guests boot from: the user-mode-linux kernel and an ext4 disk with a small Debian.
# usage: build.sh CACHE-DIR PACKAGE,PACKAGE,...
#
# Packages come from wherever this host's own apt is configured to fetch them, so that no host name is written here.
set -euo pipefail
cache=$1 packages=$2
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' | awk -v s="$suite" '$1 == s {print $2; exit}')
[ -n "$mirror" ] || { echo "apt knows no archive for $suite" >&2; exit 1; }

work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # debootstrap takes the mode over into the guest's /

# Unpacked, not installed: the host's own /boot, modules and hooks stay as they are. Apt's unprivileged download user
# cannot write here, which it would only warn about.
mkdir "$work/deb"
(cd "$work/deb" && apt-get -o APT::Sandbox::User=root download user-mode-linux) ||
    (apt-get update && cd "$work/deb" && apt-get -o APT::Sandbox::User=root download user-mode-linux)
dpkg -x "$work"/deb/user-mode-linux_*.deb "$work/uml"

root=$work/root
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*

modules=$(echo "$work"/uml/usr/lib/uml/modules/*)
mkdir -p "$root/lib/modules"
cp -r "$modules" "$root/lib/modules/"
depmod -b "$root" "${modules##*/}"

# All that is fixed in the image: where the rest of the start-up is read from, which so may change without a rebuild.
cat >"$root/boot-from-host" <<'INIT'
#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
host=$(tr ' ' '\n' </proc/cmdline | sed -n 's|^guest.dir=||p')
mkdir -p /host
mount -t hostfs -o "$host" none /host
exec /bin/bash /host/init.sh
INIT
chmod 755 "$root/boot-from-host"

# No journal: a guest's disk is thrown away when it stops.
mke2fs -q -t ext4 -O ^has_journal -L guest -N 600000 -d "$root" "$work/root.img" 4G
mv "$work/uml/usr/bin/linux.uml" "$cache/linux.uml"
mv "$work/root.img" "$cache/root.img"
