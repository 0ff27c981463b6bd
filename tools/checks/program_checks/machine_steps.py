"""machine_steps: what tools/checks/machine installs, runs and serves."""

# Installed in this order; apt-get is started once for each line.
PACKAGES = [
    "perl python3 git-core gnupg openssl curl ca-certificates sudo procps iproute2 man-db groff vim-tiny fakeroot faketime",
    "rsyslog cron openssh-server openssh-client",
    "apache2 php-fpm php-cli php-mbstring php-xml nginx-light haproxy squid",
    "bind9 bind9-dnsutils slapd ldap-utils samba vsftpd",
    "postgresql mariadb-server redis-server memcached",
    "postfix dovecot-imapd",
    "gcc libc6-dev make",
]

# Run by a shell; each must end with status 0.
PROGRAMS = {
    "python3": "python3 -c 'import json, threading; work = lambda: json.dumps([list(range(99))] * 999);"
               " t = [threading.Thread(target=work) for _ in range(4)]; [x.start() for x in t]; [x.join() for x in t]'",
    "perl": "perl -e 'my %h; $h{$_ % 997} .= $_ for 1 .. 99999; print length join \"\", values %h'",
    "git": "cd /tmp && rm -rf r && git init -q r && cd r && cp -r /etc/init.d . && git add ."
           " && git -c user.name=n -c user.email=e commit -qm m && git gc -q && git fsck",
    "gpg": "cd /tmp && export GNUPGHOME=$(mktemp -d) && gpg -q --batch --passphrase '' --quick-gen-key n@example.org"
           " && echo text | gpg -q --batch --trust-model always -e -r n@example.org | gpg -q --batch -d | grep text;"
           " gpgconf --kill all",
    "openssl": "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=n -keyout /dev/null -days 9 | openssl x509 -noout"
               " -subject",
    "man": "printf '.TH P 1\\n.SH NAME\\npage \\\\- one\\n.B bold text\\n' > /tmp/p.1; man -l /tmp/p.1 | grep bold;"
           " mandb -q",
    "vim": "vim.tiny -es -c '%s/root/other/g | wq! /tmp/passwd' /etc/passwd; grep other /tmp/passwd",
    "su, sudo": "su nobody -s /bin/sh -c 'id -un' && sudo -u nobody id -un",
    "adduser": "useradd -m somebody && echo somebody:secret | chpasswd && passwd -S somebody"
               " && userdel -r somebody 2>/dev/null",
    "php": "php -r 'echo mb_strlen(json_encode(range(1, 9999))), sha1(serialize(get_loaded_extensions())), PHP_EOL;'",
    "fakeroot": "fakeroot sh -c 'cd /tmp && touch f && chown 1:2 f && stat -c %u:%g f | grep 1:2'",
    "faketime": "LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1) FAKETIME='2001-02-03 04:05:06' date +%Y"
                " | grep 2001",
    "kill -SEGV": "cd /tmp && bash -c 'kill -SEGV $$' 2>/dev/null; test $? = 139 && rm -f core*",
    "rsyslogd": "rsyslogd && sleep 1 && logger hello && sleep 1 && grep hello /var/log/syslog"
                " && kill $(cat /run/rsyslogd.pid)",
    "gcc, make": "cd /tmp && printf 'int main(void) { return 0; }' > m.c && make -B m && ./m",
    "dpkg-deb": "cd /tmp && rm -rf d && mkdir -p d/DEBIAN && printf 'Package: d\\nVersion: 1\\nArchitecture: all\\n"
                "Maintainer: n <n@example.org>\\nDescription: d\\n' > d/DEBIAN/control && dpkg-deb -b d && dpkg -i d.deb && dpkg -P d",
    "apt": "apt-cache search malloc > /dev/null && apt-get check && apt-get -qq -y --reinstall install perl-base"
           " && apt-get -qq -y purge memcached",
}

# Script in /etc/init.d: a port it listens on, and a question to ask (a shell's; status 0).
SERVICES = {
    "cron": (None, "true"),
    "ssh": (22, "ssh-keyscan 127.0.0.1"),
    "apache2": (80, "curl -sf http://127.0.0.1/ -o /dev/null && a2enmod -q cgid status && apachectl graceful && sleep 1"
                    " && curl -sf http://127.0.0.1/server-status?auto"),
    "nginx": (80, "curl -sf http://127.0.0.1/ && nginx -s reload"),
    "php*-fpm": (None, "true"),
    "squid": (3128, "curl -s -x http://127.0.0.1:3128 http://127.0.0.1:9/ -o /dev/null"),
    "named": (53, "dig @127.0.0.1 localhost +short | grep 127 && rndc reload && rndc status"),
    "slapd": (389, "ldapsearch -x -H ldap://127.0.0.1 -b '' -s base namingContexts"),
    "smbd": (445, "smbcontrol smbd ping"),
    "vsftpd": (21, "true"),
    "postgresql": (5432, "su postgres -c \"psql -Atc 'select count(*) from generate_series(1, 99999)'\""),
    "mariadb": (3306, "mariadb -e 'select count(*) from information_schema.tables'"),
    "redis-server": (6379, "redis-cli set a b && redis-cli bgsave"),
    "postfix": (25, "echo text | sendmail root && sleep 1 && postqueue -p"),
    "dovecot": (143, "doveadm auth test nobody none || true"),
}
