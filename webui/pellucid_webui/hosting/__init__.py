"""The page in the server: mount, login, Gradio."""
