"""What a database holds, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from repic_cli.concepts import schema
from repic_plugins.text import clean

if TYPE_CHECKING:
    from repic_cli.concepts.store import ConceptDatabase


def statistics(database: ConceptDatabase) -> dict[str, Any]:
    """Counts and sizes (bytes) for people and scripts."""
    counts = """SELECT (SELECT count(*) FROM concepts),
                       (SELECT count(*) FROM pictures WHERE file NOT LIKE '%.vector'),
                       (SELECT count(DISTINCT file) FROM pictures WHERE file NOT LIKE '%.vector'),
                       (SELECT count(*) FROM pictures WHERE x1 IS NOT NULL),
                       (SELECT count(*) FROM concepts WHERE id NOT IN
                         (SELECT concept_id FROM pictures WHERE file NOT LIKE '%.vector'))"""
    vectors = "SELECT encoder, dimension, count(*) FROM embeddings GROUP BY encoder, dimension ORDER BY encoder"
    with database.reading() as connection:
        concepts, pictures, files, boxes, bare = connection.execute(counts).fetchone()
        made = [(clean(row[0], 80), int(row[1]), int(row[2])) for row in connection.execute(vectors)]
    return {
        "database": str(database.folder),
        "version": schema.VERSION,
        "encoder": database.encoder,
        "revision": database.revision,
        "concepts": concepts,
        "without_picture": bare,
        "pictures": pictures,
        "picture_files": files,
        "boxes": boxes,
        "bytes_of_pictures": sum(path.stat().st_size for path in database.pictures.iterdir() if path.is_file()),
        "bytes_of_database": database.path.stat().st_size,
        "vectors": [{"encoder": name, "dimension": dimension, "count": count} for name, dimension, count in made],
        "categories": database.categories(),
    }
