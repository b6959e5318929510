"""The Hugging Face hub: whatever can go wrong with it, said in one line."""

from contextlib import contextmanager

from shared.errors import InputError


@contextmanager
def fetching(what: str):
    """Turns a failure to get `what` (a repository, or a part of one) into an InputError that says the mend."""
    from huggingface_hub import errors

    try:
        yield
    except (
        OSError,
        ValueError,
        errors.EntryNotFoundError,
    ) as error:  # transformers wraps the hub's in OSError
        causes = [error]
        while causes[-1].__cause__ or causes[-1].__context__:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        for kind, mend in (
            (errors.GatedRepoError, "is gated: accept its licence on huggingface.co, then set HF_TOKEN"),
            (
                errors.RepositoryNotFoundError,
                "is not on the hub, or private: check the name, or set HF_TOKEN",
            ),
            (errors.LocalEntryNotFoundError, "is not in the local cache and the hub cannot be reached"),
            (errors.OfflineModeIsEnabled, "is not in the local cache, and HF_HUB_OFFLINE is set"),
            (errors.EntryNotFoundError, "lacks a file that is needed"),
        ):
            if any(isinstance(cause, kind) for cause in causes):
                raise InputError(f"{what} {mend}") from None
        first_line = str(error).strip().split("\n")[0]
        raise InputError(f"{what} cannot be loaded: {first_line}") from None


def config_of(model: str):
    """The config of the language model in a folder or a hub repository; of a multimodal one, its text part's."""
    from transformers import AutoConfig

    with fetching(f"MODEL={model}"):
        return AutoConfig.from_pretrained(model).get_text_config()
