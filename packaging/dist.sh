#!/bin/sh
# What a release is made of, in dist/: a binary that needs no library of the system, a Debian package, the parts list
# (CycloneDX), the sums, and what installs them; then all of it is tried (packaging/check.py).
#   packaging/dist.sh [BINARY]: around one that is built already.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
commit=$(git rev-parse --short=12 HEAD)
host=$(rustc -vV | sed -n 's/^host: //p')
# musl where its standard library and a C compiler for it are installed; else glibc, linked in. A target is named, so
# that build scripts and macros, which are loaded, stay as they are.
musl=$(echo "$host" | sed 's/-gnu$/-musl/')
target=$musl
if [ ! -d "$(rustc --print target-libdir --target "$musl" 2>/dev/null)" ] || ! command -v musl-gcc >/dev/null; then
  target=$host
  cat >&2 <<WARNING
warning: built with glibc, linked in, instead of musl: for musl, \`rustup target add $musl\` and Debian's musl-tools.
  Such a binary runs in an empty root as well. But glibc looks hosts up as /etc/nsswitch.conf says, and where that names
  more than files and dns it wants the libraries of a glibc of its own version on the machine where it runs.
WARNING
fi
if [ $# -gt 0 ]; then
  binary=$1
else
  export COORDINATOR_COMMIT="$commit" RUSTFLAGS="-C target-feature=+crt-static"
  cargo build --release --locked --target "$target"
  binary=target/$target/release/coordinator
fi
rm -rf dist
mkdir -p dist/data
cp "$binary" dist/coordinator
cp packaging/Containerfile packaging/coordinator.service packaging/install.sh LICENSE-APACHE LICENSE-MIT dist/

cargo metadata --format-version 1 --locked --filter-platform "$target" | python3 packaging/sbom.py "$version" "$commit" >dist/coordinator.cdx.json

arch=$(dpkg --print-architecture 2>/dev/null || uname -m)
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
