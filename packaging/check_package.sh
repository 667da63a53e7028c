#!/bin/sh
# A package's life over a copy of this system that is forgotten: check_package.sh DEB NEXT_DEB PORT, in a mount namespace
# of its own. Exit 77: that cannot be done here.
set -eu
deb=$1 next=$2 port=$3
copy=$(mktemp -d)
mount -t tmpfs none "$copy"
mkdir "$copy/upper" "$copy/work" "$copy/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$copy/upper,workdir=$copy/work" "$copy/root" 2>/dev/null || {
  echo "an overlay cannot be mounted"
  exit 77
}
root=$copy/root
cp "$deb" "$root/first.deb"
cp "$next" "$root/next.deb"
in_it="chroot $root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin"
inside() { $in_it "$@"; }
data=/var/lib/coordinator
# A system that runs systemd would have its service started; the copy must not ask that one.
rm -rf "$root/run/systemd"

inside dpkg -i /first.deb >/dev/null
uid=$(inside id -u coordinator)
[ "$(stat -c '%u %a' "$root$data")" = "$uid 700" ]
[ -f "$root/usr/lib/systemd/system/coordinator.service" ]
echo "installed: $(inside coordinator version); $data is of uid $uid, mode 700"

# What the service runs, with its user and its environment, and a file of settings where it looks for one.
printf 'listen = "127.0.0.1:%s"\n' "$port" >"$root/etc/coordinator.toml"
inside coordinator config check >/dev/null
settings=$(sed -n 's/^Environment=//p' "$root/usr/lib/systemd/system/coordinator.service")
as_it="$in_it setpriv --reuid=$uid --regid=$uid --clear-groups env $settings"
as() { $as_it "$@"; }
as coordinator account create ada >/dev/null
# Itself, not a shell around it: it is to get the signal.
$as_it coordinator serve >"$copy/out" 2>"$copy/log" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
for _ in $(seq 100); do grep -q "listening on 127.0.0.1:$port" "$copy/out" && break; sleep 0.1; done
grep "listening on 127.0.0.1:$port" "$copy/out" || { cat "$copy/out" "$copy/log" >&2; exit 1; }
# And without one.
rm "$root/etc/coordinator.toml"
kill $server
wait $server
as coordinator account list | grep -q ada

inside dpkg -i /next.deb >/dev/null
as coordinator account list | grep -q ada
echo "upgraded: $(inside dpkg-query -W -f '${Version}' coordinator); the data is as it was"

for how in -r -P; do
  inside dpkg $how coordinator >/dev/null 2>"$copy/log" || { cat "$copy/log" >&2; exit 1; }
  [ ! -e "$root/usr/bin/coordinator" ] && [ ! -e "$root/usr/lib/systemd/system/coordinator.service" ]
  [ -f "$root$data/coordinator.db" ]
done
echo "removed and purged: the binary and the service are gone, the data stays"
