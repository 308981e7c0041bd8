"""The page's calls as tools for language models (--mcp): what Gradio's MCP server does not do right for them."""

from typing import Any

from anyio.to_thread import run_sync
from gradio.mcp import GradioMCPServer
from gradio_client.client import Job

from srgan.page.handlers import MOST_FILES

Places = list[list[str | int]]
"""Where files are among a tool's arguments: ["picture"], or ["pictures", "items"] for those of a list."""

to_files = GradioMCPServer.convert_strings_to_filedata
simplify = GradioMCPServer.simplify_filedata_schema


def valid_schema(self: GradioMCPServer, schema: dict[str, Any]) -> tuple[dict[str, Any], Places]:
    """What arguments must look like. Gradio's refers to definitions that are not there, and calls all choices strings,
    numbers too: such arguments are refused, whatever they are."""
    simplified, places = simplify(self, schema)
    for argument in simplified["properties"].values():
        if "enum" in argument:
            argument.pop("type")
        if argument.pop("$defs", None):
            argument["items"].pop("$ref")
    return simplified, places


def files_of_lists(self: GradioMCPServer, value: Any, filedata_positions: Places) -> Any:
    """An address in a list becomes a file too. Gradio looks for it at the place "items", where no argument is."""
    lists = [place[:-1] for place in filedata_positions if place[-1] == "items"]
    numbered = [[*place, number] for place in lists for number in range(MOST_FILES + 1)]
    return to_files(self, value, [*filedata_positions, *numbered])


async def all_outputs(self: GradioMCPServer, job: Job) -> list[Any]:
    """What a call gives, one by one: pictures are shown then. Gradio takes several outputs for one, and prints them."""
    return list(await run_sync(job.result))


GradioMCPServer.simplify_filedata_schema = valid_schema
GradioMCPServer.convert_strings_to_filedata = files_of_lists
GradioMCPServer._execute_tool_without_progress = all_outputs
