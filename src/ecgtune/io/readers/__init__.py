"""One module per file format, behind one interface (`base.FileReader`); `registry` finds the reader of a file."""
