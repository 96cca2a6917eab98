#!/usr/bin/env bash
# images.sh FOLDER: builds the images that tests run, nginx.tar and busybox-1.28.tar, from Debian's
# packages. Each is a docker archive with one layer; nothing is pulled from a registry of images.
# The names are those of the pages; what is inside is the distribution's version.
set -euo pipefail
out=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
apt-cache show nginx-light >/dev/null 2>&1 || apt-get update -qq

# unpack ROOT PACKAGE...: the packages with the libraries they depend on, without installing any.
unpack() {
  local root=$1
  shift
  mkdir -p "$root" "$work/debs"
  local all
  all=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "$@" |
    grep -E '^[a-z0-9]' | grep -E "^($(IFS='|'; echo "$*")|lib[a-z0-9.+-]*|zlib1g|nginx|nginx-common)$" | grep -v "^libnginx-mod" | cut -d: -f1 | sort -u)
  # shellcheck disable=SC2086
  (cd "$work/debs" && for p in $all; do [ -e "$p".deb ] || { apt-get download -qq -o APT::Sandbox::User=root "$p" >/dev/null && mv "${p}"_*.deb "$p.deb"; }; done)
  for p in $all; do dpkg -x "$work/debs/$p.deb" "$root"; done
  rm -rf "$root"/usr/share/{doc,man,lintian,locale,info,bug}
}

# archive ROOT IMAGE FILE CMD-JSON: the docker archive.
archive() {
  local root=$1 image=$2 file=$3 cmd=$4 dir layer
  dir=$(mktemp -d -p "$work")
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$root" -cf "$dir/layer.tar" .
  layer=$(sha256sum <"$dir/layer.tar" | cut -d' ' -f1)
  jq -cn --arg layer "sha256:$layer" --arg arch "$(dpkg --print-architecture)" --argjson cmd "$cmd" \
    '{architecture: $arch, os: "linux", config: {Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], Cmd: $cmd}, rootfs: {type: "layers", diff_ids: [$layer]}}' >"$dir/config.json"
  jq -cn --arg image "$image" '[{Config: "config.json", RepoTags: [$image], Layers: ["layer.tar"]}]' >"$dir/manifest.json"
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$dir" -cf "$file" manifest.json config.json layer.tar
  echo "$file: $image, $(du -h "$file" | cut -f1)"
}

# base ROOT: what a shell and name lookups need. Debian's busybox-static crashes in those, and wget of
# either busybox at its option -T: GNU's takes its place, and tries once as that does.
base() {
  local root=$1
  mkdir -p "$root"/{etc,tmp,root,proc,sys,dev,run,var/log}
  chmod 1777 "$root/tmp"
  printf 'root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
  printf 'root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n' >"$root/etc/group"
  printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
  local applet
  for applet in $(chroot "$root" /bin/busybox --list); do
    [ "$applet" = busybox ] || [ -e "$root/bin/$applet" ] || [ -e "$root/usr/bin/$applet" ] || ln -s busybox "$root/bin/$applet"
  done
  echo 'tries = 1' >"$root/etc/wgetrc"
}

unpack "$work/busybox" busybox wget
base "$work/busybox"
archive "$work/busybox" docker.io/library/busybox:1.28 "$out/busybox-1.28.tar" '["sh"]'

unpack "$work/nginx" busybox wget nginx-light
base "$work/nginx"
mkdir -p "$work/nginx"/{etc/nginx/conf.d,var/lib/nginx,var/www/html,usr/share/nginx/html}
cat >"$work/nginx/etc/nginx/nginx.conf" <<'CONF'
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr;
events { worker_connections 256; }
http {
  access_log /dev/stdout;
  server {
    listen 80;
    listen [::]:80;
    root /usr/share/nginx/html;
  }
}
CONF
printf '<!DOCTYPE html>\n<html><head><title>Welcome to nginx!</title></head><body><h1>Welcome to nginx!</h1></body></html>\n' >"$work/nginx/usr/share/nginx/html/index.html"
archive "$work/nginx" docker.io/library/nginx:latest "$out/nginx.tar" '["nginx", "-g", "daemon off;"]'
