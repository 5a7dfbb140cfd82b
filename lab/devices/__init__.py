"""The lab's Jetson devices: five SSH servers, each with its own files, programs, sensors and services."""
