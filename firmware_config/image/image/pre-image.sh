#!/bin/sh
# Writes genimage's configuration from the template beside it; called by rpi-image-gen with the root
# file system and the folder for the configuration.
set -eu

folder=$(dirname "$(readlink -e "$0")")
sed \
    -e "s|<IMAGE_NAME>|${IGconf_image_name:?}|g" \
    -e "s|<IMAGE_SUFFIX>|${IGconf_image_suffix:?}|g" \
    -e "s|<BOOT_SIZE>|${IGconf_image_boot_part_size:?}|g" \
    -e "s|<ROOT_SIZE>|${IGconf_image_root_part_size:?}|g" \
    -e "s|<DATA_SIZE>|${IGconf_image_data_part_size:?}|g" \
    -e "s|<SETUP>|$folder/setup.sh|g" \
    "$folder/genimage.cfg.in" >"$2/genimage.cfg"
