"""Where what was computed once is kept: the folder, its arrays, and files with a checksum."""
