"""Processing of whole recordings before they become windows."""
