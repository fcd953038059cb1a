"""Pages and pictures that people look at: drawings of architectures, charts, a dataset's thumbnails, HTML."""
