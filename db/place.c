#include "db/place.h"

#include <stdio.h>
#include <sys/vfs.h>

/* From Linux's magic.h, statfs(2) and the file systems' own sources. */
static const unsigned long local_types[] = {
    0xef53,     /* ext2, ext3, ext4 */
    0x58465342, /* XFS */
    0x9123683e, /* Btrfs */
    0x2fc12fc1, /* ZFS */
    0x01021994, /* tmpfs */
    0x858458f6, /* ramfs */
    0x794c7630, /* overlayfs: its upper layer is a local disk's, as it must have whiteouts */
    0xf2f52010, /* F2FS */
    0xca451a4e, /* bcachefs */
    0x3153464a, /* JFS */
    0x52654973, /* ReiserFS */
    0x3434,     /* NILFS */
};

static const struct {
    unsigned long type;
    const char *name;
} others[] = {
    {0x6969, "NFS"},        {0x517b, "SMB"},       {0xff534d42, "CIFS"},   {0xfe534d42, "SMB"},
    {0x01021997, "9p"},     {0x65735546, "FUSE"},  {0x0bd00bd0, "Lustre"}, {0x47504653, "GPFS"},
    {0x19830326, "BeeGFS"}, {0x00c36400, "Ceph"},  {0x5346414f, "AFS"},    {0x6b414653, "AFS"},
    {0xaad7aaea, "PanFS"},  {0x7461636f, "OCFS2"}, {0x01161970, "GFS2"},
};

struct hy_place hy_place_of_type(unsigned long type)
{
    struct hy_place place = {0};
    const unsigned long bits = type & 0xffffffff; /* f_type is signed here and there */
    for (size_t i = 0; i < sizeof local_types / sizeof *local_types; i++)
        place.is_local |= local_types[i] == bits;
    snprintf(place.name, sizeof place.name, "a %s of type 0x%lx",
             place.is_local ? "disk" : "file system", bits);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (others[i].type == bits)
            snprintf(place.name, sizeof place.name, "%s", others[i].name);
    return place;
}

static struct hy_place unknown(void)
{
    return (struct hy_place){.name = "a file system that cannot be looked at"};
}

struct hy_place hy_place_of_file(int file)
{
    struct statfs found;
    return fstatfs(file, &found) ? unknown() : hy_place_of_type((unsigned long)found.f_type);
}

struct hy_place hy_place_of_path(const char *path)
{
    struct statfs found;
    return statfs(path, &found) ? unknown() : hy_place_of_type((unsigned long)found.f_type);
}
