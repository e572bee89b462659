"""What people bring from elsewhere becomes config entries and registrations."""
