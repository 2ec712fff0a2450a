"""What systemd hands a service and is told by it; and the command that installs the units."""
