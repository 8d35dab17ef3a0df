# Run inside the virtual machine: it becomes an NFS server, a Thumbdrop host that mounts what it serves, and, with a
# network and a name of its own, a second client. The exported folders are on the data disk.
set -eu
for inbox in four three slow; do
    install -d -o thumbdrop -g thumbdrop -m 2775 /srv/export/$inbox
    install -d /mnt/$inbox /client/$inbox
done
install -d -o thumbdrop -g thumbdrop -m 2775 /srv/local
install -d -o thumbdrop -g thumbdrop /srv/library

# By default a started server lets clients of NFSv4 wait for 90 s, to claim what they had open.
cat >/etc/nfs.conf.d/short.conf <<'END'
[nfsd]
threads = 4
grace-time = 10
lease-time = 10
END
echo '/srv/export *(rw,no_root_squash,no_subtree_check,fsid=1)' >/etc/exports
systemctl restart rpcbind nfs-server

mount -t nfs -o vers=4.2 127.0.0.1:/srv/export/four /mnt/four
mount -t nfs -o vers=3 127.0.0.1:/srv/export/three /mnt/three
mount -t nfs -o vers=3 127.0.0.1:/srv/export/slow /mnt/slow

ip netns add client
ip link add name to-client type veth peer name eth0 netns client
ip address add 10.9.0.1/24 dev to-client
ip link set to-client up
ip -n client address add 10.9.0.2/24 dev eth0
ip -n client link set eth0 up
ip -n client link set lo up
# Two clients of NFSv4 with one host name would be taken for one that has restarted.
as_client() { nsenter --net=/run/netns/client unshare --uts sh -c 'hostname client && exec "$@"' sh "$@"; }
as_client mount -t nfs -o vers=4.2 10.9.0.1:/srv/export/four /client/four
as_client mount -t nfs -o vers=3,nolock 10.9.0.1:/srv/export/three /client/three
as_client mount -t nfs -o vers=3,nolock 10.9.0.1:/srv/export/slow /client/slow
findmnt -t nfs,nfs4 -o TARGET,FSTYPE,SOURCE,OPTIONS
