"""What a console knows, and every answer it can give: plain functions on frozen values."""
