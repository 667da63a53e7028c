#!/bin/sh
# What a release is made of, in dist/: a binary that needs no library of the system, a Debian package, the parts list
# (CycloneDX), the sums, and what installs them; then all of it is tried (packaging/check.py).
#   packaging/dist.sh [BINARY]: around one that is built already, on another architecture maybe: the package is of its own.
set -eu
cd "$(dirname "$0")/.."
refuse() {
  echo "dist.sh: $1" >&2
  exit 1
}
# What is missing is said before the build, all of it at once.
missing=
for program in cargo rustc git python3 dpkg-deb sha256sum; do
  command -v $program >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] || refuse "not here:$missing (dpkg-deb is in Debian's dpkg, sha256sum in coreutils)"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
commit=$(git rev-parse --short=12 HEAD) || refuse "the commit that a release names is asked of git: this is no clone"
host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
  *-linux-*) ;;
  *) refuse "a release is made on Linux, and this is $host" ;;
esac
if [ $# -gt 0 ]; then
  binary=$1
  [ -f "$binary" ] || refuse "there is no binary at $binary"
else
  # musl where its standard library and a C compiler for it are installed; else glibc, linked in. A target is named, so
  # that build scripts and macros, which are loaded, stay as they are.
  musl=$(echo "$host" | sed 's/-gnu.*$/-musl/')
  target=$musl
  lacks=
  [ -d "$(rustc --print target-libdir --target "$musl" 2>/dev/null)" ] || lacks="its standard library (rustup target add $musl)"
  command -v musl-gcc >/dev/null || lacks="$lacks${lacks:+ and }musl-gcc (Debian's musl-tools)"
  if [ -n "$lacks" ]; then
    target=$host
    cat >&2 <<WARNING
warning: built with glibc, linked in, instead of musl. For musl there is missing: $lacks.
  Such a binary runs in an empty root as well. But glibc looks hosts up as /etc/nsswitch.conf says, and where that names
  more than files and dns it wants the libraries of a glibc of its own version on the machine where it runs.
WARNING
    # A compiler that has the file says where; one that has not repeats its name.
    [ -f "$(cc -print-file-name=libc.a)" ] || refuse "and glibc cannot be linked in: there is no libc.a (Debian's libc6-dev, Fedora's glibc-static)"
  fi
  # Without a loader nobody finds the system call by its name, and random bytes would be read from a file that an empty
  # root does not have: https://docs.rs/getrandom/latest/getrandom/#opt-in-backends
  export COORDINATOR_COMMIT="$commit" RUSTFLAGS='-C symbol-mangling-version=v0 -C target-feature=+crt-static --cfg getrandom_backend="linux_getrandom"'
  cargo build --release --locked --target "$target"
  binary=target/$target/release/coordinator
fi
# What it runs on stands in its head.
case $(od -An -tu2 -j18 -N2 "$binary" | tr -d ' ') in
  62) arch=amd64 built_for=x86_64-unknown-linux-gnu ;;
  183) arch=arm64 built_for=aarch64-unknown-linux-gnu ;;
  *) refuse "$binary is no program of Linux for x86_64 or aarch64" ;;
esac
rm -rf dist
mkdir -p dist/data
cp "$binary" dist/coordinator
cp packaging/Containerfile packaging/coordinator.service packaging/install.sh LICENSE-APACHE LICENSE-MIT dist/

cargo metadata --format-version 1 --locked --filter-platform "$built_for" | python3 packaging/sbom.py "$version" "$commit" >dist/coordinator.cdx.json

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
install -D -m 0755 dist/coordinator "$root/usr/bin/coordinator"
install -D -m 0644 packaging/coordinator.service "$root/usr/lib/systemd/system/coordinator.service"
install -D -m 0644 LICENSE-MIT "$root/usr/share/doc/coordinator/copyright"
install -D -m 0755 packaging/deb/postinst "$root/DEBIAN/postinst"
install -D -m 0755 packaging/deb/prerm "$root/DEBIAN/prerm"
cat >"$root/DEBIAN/control" <<CONTROL
Package: coordinator
Version: $version
Architecture: $arch
Maintainer: the operator of this build <root@localhost>
Depends: passwd
Section: net
Priority: optional
Installed-Size: $(du -sk "$root/usr" | cut -f1)
Description: Prepaid coordinator for OpenAI-compatible inference servers
 One binary with its database inside. Its service runs as a user of its own and keeps its data in /var/lib/coordinator.
CONTROL
chmod 0755 "$root"
dpkg-deb -Zgzip --build --root-owner-group "$root" "dist/coordinator_${version}_${arch}.deb" >/dev/null
(cd dist && sha256sum coordinator ./*.deb coordinator.cdx.json | sed 's| \./| |' >SHA256SUMS)
ls -l dist
python3 packaging/check.py dist
