"""`uvicorn app.main:app`: the app, as the environment and the settings file describe it."""

from app.compose import create_app
from settings.load import load

app = create_app(load())
