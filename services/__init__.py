"""The programs of Equipoise: each folder is one, and none imports another."""
