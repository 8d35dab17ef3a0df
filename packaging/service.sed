# What the settings of a system service have otherwise than `thumbdrop config init` writes them:
#   sed -i -f /opt/thumbdrop/share/thumbdrop/service.sed /etc/thumbdrop/thumbdrop.toml
# The parts are processes of their own, which meet in a Redis that is nobody's child.
s|^url = "embedded"|url = "redis://127.0.0.1:6379/0"|
# The same for the services and for commands typed by hand.
s|^# \[state\]|[state]|
s|^# path = "/var/lib/thumbdrop"|path = "/var/lib/thumbdrop"|
