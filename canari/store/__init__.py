"""Everything that is kept in PostgreSQL: tables, migrations, and every SQL query, by subject."""
