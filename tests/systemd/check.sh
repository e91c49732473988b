#!/bin/bash
# Runs inside of a booted systemd, as root: what the unit and the mount helper promise. Each step says what it shows; the first
# that fails ends it.
set -eu
M=/run/secrets

step() { echo "step: $*"; }
fail() { echo "failed: $*"; systemctl status --no-pager kmsfs || true; journalctl --no-pager -u kmsfs | tail -30; exit 1; }
property() { systemctl show --value --property="$1" kmsfs; }
# umount(8) and systemd are done when the mount is gone; the keeper sees that and ends a moment later.
no_process() { for _ in $(seq 100); do pgrep -x kmsfs > /dev/null || return 0; pause; done; return 1; }
pause() { sleep 0.1; }
worker() { grep -o '"worker_pid": [0-9]*' $M/.kmsfs/status | grep -o '[0-9]*$'; }

step 'a credential is sealed for this machine'
install -d -m 700 /var/lib/kmsfs /etc/kmsfs
kmsfs init --store /var/lib/kmsfs --key-file /root/master.key
systemd-creds encrypt --with-key=host --name=kmsfs.key /root/master.key /etc/kmsfs/kmsfs.key
rm /root/master.key

step 'start returns when the mount answers'
systemctl start kmsfs
[ "$(property ActiveState)" = active ] || fail 'the service is not active'
mkdir -p $M/prod/db/password
printf %s one > $M/prod/db/password/current

step 'the keeper is the main process, and outlives its worker'
keeper=$(property MainPID)
grep -q "\"keeper_pid\": $keeper" $M/.kmsfs/status || fail 'the main process is not the keeper'
before=$(worker)
kill -9 "$before"
[ "$(cat $M/prod/db/password/current)" = one ] || fail 'the value is not read after a death'
[ "$(worker)" != "$before" ] || fail 'the same worker'
[ "$(property MainPID) $(property NRestarts)" = "$keeper 0" ] || fail 'the service was restarted'

step 'reload lets the installed program take over'
before=$(worker)
systemctl reload kmsfs
[ "$(worker)" != "$before" ] || fail 'the same worker after the reload'
[ "$(property MainPID) $(property ActiveState)" = "$keeper active" ] || fail 'not the same main process'

step 'a keeper that hangs is restarted by the watchdog'
kill -STOP "$keeper"
for _ in $(seq 300); do
    [ "$(property MainPID)" != "$keeper" ] && [ "$(property ActiveState)" = active ] && break
    pause
done
[ "$(property MainPID)" != "$keeper" ] || fail 'the keeper hangs on'
[ "$(cat $M/prod/db/password/current)" = one ] || fail 'the value is not read after the restart'

step 'stop unmounts, and leaves no process'
systemctl stop kmsfs
! grep -q " $M " /proc/self/mountinfo || fail 'the mount is there after stop'
! pgrep -x kmsfs || fail 'a process is there after stop'

# An automount wants autofs, which a container does not have; it starts the very unit that is started here.
step 'fstab mounts, by unit and by mount(8)'
kmsfs init --store /var/lib/second --key-file /root/second.key
mkdir /second
echo '/var/lib/second /second kmsfs key-file=/root/second.key,noauto,x-systemd.automount 0 0' >> /etc/fstab
systemctl daemon-reload
systemctl start second.mount
grep -q ' /second .* fuse.kmsfs ' /proc/self/mountinfo || fail 'it is not in the table of mounts'
ls -A /second | grep -qx .kmsfs || fail 'the mount does not answer'
systemctl stop second.mount
no_process || fail 'a process is there after umount'
mount /second
ls -A /second | grep -qx .kmsfs || fail 'the mount does not answer mount(8)'
umount /second
no_process || fail 'a process is there after umount(8)'

echo 'all steps done'
