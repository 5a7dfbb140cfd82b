"""How every report is drawn: documents, tables, charts and their one style."""
