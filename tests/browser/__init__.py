"""The pages in a real Chromium: what people do on them, how they look, and whether everybody can use them."""
