"""`uvicorn app.main:app`: the app, as the environment and the settings file describe it."""

from app.compose import create_app
from settings.load import load
from settings.problems import SettingsError

try:
    app = create_app(load())
except SettingsError as error:
    raise SystemExit(str(error)) from None  # every problem with its variable and what to write; no traceback
