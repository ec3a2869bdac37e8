"""The portal, put together: pages, assets, and what browsers are told to refuse."""

from __future__ import annotations

import json
from pathlib import Path

from fastapi import FastAPI
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.portal import languages
from services.portal.assets import Assets
from services.web import problems
from services.web.requests import RequestMetrics, RequestMiddleware, metrics_route

_ROOT = Path(__file__).parent
_YEAR_SECONDS = 365 * 24 * 3600
_HEADERS = {
    # Pictures are previewed from the visitor's own files (blob:) and are never sent anywhere but to the API.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=(self)",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Pages:
    """Renders a page's template in the visitor's language."""

    def __init__(self, *, secure_cookies: bool) -> None:
        self.assets = Assets(_ROOT, ("static", "pages"))
        self._secure_cookies = secure_cookies
        loader = FileSystemLoader([_ROOT / "templates", _ROOT / "pages"])
        self._environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
        self._environment.globals["asset"] = self.assets.url

    def render(self, request: Request, page: str, **values: object) -> Response:
        """The page of the folder `page`."""
        asked = request.query_params.get("lang")
        kept = request.cookies.get(languages.COOKIE)
        language = languages.choose(asked, kept, request.headers.get("accept-language"))
        texts = languages.TEXTS[language]
        # "<" is the one character that could end the script element that holds the texts.
        script = Markup(json.dumps(texts, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704 - just escaped
        template = self._environment.get_template(f"{page}/page.html")
        html = template.render(
            page=page, language=language, texts=texts, script_texts=script, address=request.url, **values
        )
        response = HTMLResponse(html, headers={"Cache-Control": "no-cache", "Vary": "Accept-Language, Cookie"})
        if asked == language != kept:
            response.set_cookie(
                languages.COOKIE, language, max_age=_YEAR_SECONDS, samesite="lax", secure=self._secure_cookies
            )
        return response


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def create_app(*, secure_cookies: bool = False) -> FastAPI:
    """The application."""
    pages = Pages(secure_cookies=secure_cookies)
    app = FastAPI(title="Canari portal", openapi_url=None, docs_url=None, redoc_url=None)
    metrics = RequestMetrics("portal")
    app.add_middleware(_SecurityHeaders)
    app.add_middleware(RequestMiddleware, metrics=metrics)
    problems.install(app)

    @app.get("/")
    def home(request: Request) -> Response:
        """Ask the first model there is."""
        return pages.render(request, "ask", model="")

    @app.get("/models/{model}")
    def ask(request: Request, model: str) -> Response:
        """Ask a model."""
        return pages.render(request, "ask", model=model)

    @app.get("/curate")
    def curate_any(request: Request) -> Response:
        """Review what users sent to the first model of which something waits."""
        return pages.render(request, "curate", model="")

    @app.get("/curate/{model}")
    def curate(request: Request, model: str) -> Response:
        """Review what users sent to a model."""
        return pages.render(request, "curate", model=model)

    @app.get("/sign-in")
    def sign_in(request: Request) -> Response:
        """Sign in, and go back to where one was."""
        return pages.render(request, "sign_in")

    @app.get("/favicon.ico")
    def favicon() -> Response:
        """Where browsers look for it unasked."""
        return RedirectResponse(pages.assets.url("static/canari.svg"), status_code=301)

    @app.get("/healthz")
    def healthz() -> Response:
        """Whether the process answers."""
        return PlainTextResponse("ok")

    app.router.routes += [pages.assets.route(), metrics_route(metrics)]
    return app
