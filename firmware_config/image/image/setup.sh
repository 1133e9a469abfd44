#!/bin/sh
# What a partition needs to know of the others; called by genimage in each partition's files
# ($IMAGEMOUNTPATH) before its file system is made.
set -eu

# What outlives a start, below /data; owners are set at the first start by those who use it.
kept="etc/songlo var/lib/songlo-gateway var/lib/chrony etc/ssh"

case "$1" in
boot)
    # overlayroot: what is written to the root goes to memory; other partitions are left alone.
    # The pins are for RS-485, not for a console. A kernel that gave up starts anew.
    sed -i -E \
        -e 's/ ?console=serial0,[0-9]+//' \
        -e 's|root=[^ ]*|root=LABEL=songlo-root|' \
        -e 's|$| overlayroot=tmpfs:recurse=0 panic=10|' \
        "$IMAGEMOUNTPATH/cmdline.txt"
    ;;
root)
    {
        echo "LABEL=songlo-root / ext4 ro,noatime 0 1"
        echo "LABEL=SONGLOBOOT /boot/firmware vfat ro,noatime 0 2"
        # Barriers and ordered data are ext4's own way; the outbox asks for its own syncs, and five
        # seconds bound what others may lose. Keys and readings are on it.
        echo "LABEL=songlo-data /data ext4 rw,noatime,nodev,nosuid,noexec,commit=5,errors=remount-ro 0 2"
        for path in $kept; do
            echo "/data/$path /$path none bind,x-systemd.requires-mounts-for=/data 0 0"
        done
    } >"$IMAGEMOUNTPATH/etc/fstab"
    for path in data $kept; do
        mkdir -p "$IMAGEMOUNTPATH/$path"
    done
    # Made anew at each start; never the same on two cards.
    : >"$IMAGEMOUNTPATH/etc/machine-id"
    ;;
data)
    # What is in these folders of the root lies behind the mounts: it begins here.
    for path in $kept; do
        mkdir -p "$IMAGEMOUNTPATH/$path"
        if [ -d "$ROOTPATH/$path" ]; then
            cp -a "$ROOTPATH/$path/." "$IMAGEMOUNTPATH/$path/"
        fi
    done
    ;;
esac
