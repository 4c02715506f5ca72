"""ECGFounder: the published 12-lead and one-lead weights."""

from ecgtune.models.ecgfounder.network import ECGFounder
from ecgtune.models.ecgfounder.published import FORMAT, ONE_LEAD, TWELVE_LEADS
from ecgtune.models.registry import published_weights, register_encoder, register_weights

ECGFounder.published = FORMAT
register_encoder("ecgfounder", weights=published_weights("ecgfounder", TWELVE_LEADS))(ECGFounder)
register_weights("ecgfounder-1lead", "ecgfounder", published_weights("ecgfounder-1lead", ONE_LEAD))
