"""OpenAI's dialect: what a request says, read once from its headers and body. Pure; `parse.py` calls all the others."""
