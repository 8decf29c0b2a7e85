"""What a beat is (`datagram`) and what follows from hearing one (`beats`)."""
