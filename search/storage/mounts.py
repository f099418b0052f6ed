"""Which kind of file system a path lies on: one of this machine, or one that other machines share."""

from pathlib import Path

import psutil

_NETWORK = {
    *("9p", "afpfs", "afs", "beegfs", "ceph", "cifs", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "ocfs2"),
    *("orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs", "wekafs"),
}
_NETWORK_FUSE = {
    *("ceph", "curlftpfs", "davfs2", "gcsfuse", "glusterfs", "goofys", "juicefs", "mfs", "rclone", "s3fs", "smbnetfs", "sshfs"),
}


def network_file_system(path: Path) -> str | None:
    """Returns the type, such as ``nfs4``, of the network file system that holds `path`, which need not exist; None if local."""
    resolved = path.resolve()
    mounts = [mount for mount in psutil.disk_partitions(all=True) if resolved.is_relative_to(mount.mountpoint)]
    # Of two mounts on one point the later one covers the earlier, as an automounted one its trigger.
    holder = max(enumerate(mounts), key=lambda item: (len(Path(item[1].mountpoint).parts), item[0]), default=None)
    if holder is None:
        return None
    kind, root = str(holder[1].fstype), holder[1].mountpoint == "/"
    if kind == "9p" and root:  # a sandbox such as gVisor: one kernel holds all processes, so that locks and memory work
        return None
    return kind if kind in _NETWORK or kind.removeprefix("fuse.") in _NETWORK_FUSE else None
