"""English words that captions use anyway, so that as names they prove nothing without brackets or their own case.

Written by hand for the words of picture captions: function words, colours, animals, things, places, actions.
"""

from __future__ import annotations

COMMON_WORDS = frozenset(
    """
a about above across actor adult after against airplane airport alien all alligator almond alone along also always
am ambulance an and angel angry animal animals another ant any ape appear appears apple april apron are area arm
arms around arrow art artist as ash at august aunt autumn baby back background backpack bacon bad badger bag bake
baker balcony ball balloon banana barrel baseball basket basketball bat bathroom battery be beach beak bean beans
bear bears beautiful beaver because bed bedroom bee beef been beer beetle before begin behind beige being bell belly
below belt bench berry beside between bicycle big bike bin bird birds birthday bit black blanket blender block
blocks blouse blue blueberry boat body bond bone book books boot boots both bottle bottom bow bowl bowtie box boxes
boy bracelet branch brave bread breakfast brick bridge bright bring broccoli broken broom brother brown brush bucket
bug building bull bunny burger bus bush busy but butler butter butterfly button by cabbage cabinet cable cactus cafe
cake calf call called calm camel camera can candle candy canoe cap car card cards carpet carries carrot carry cars
cart castle cat catch cats cave ceiling center centre chain chair cheek cheese cheetah chef cherry chest chicken
child children chin chocolate church circle city clean clear cliff climb climbing climbs clock closed closet cloud
clouds cloudy clown coast coat coconut coffee cold color colorful colors colour colourful comb come comes computer
cone cook cookie cookies cooking cooks cool corn corner costume cotton couch could cousin cover covered cow crab
crayon cream creature crimson crocodile cross crow crown cry cube cup curly curtain cute cyan dad daisy dance dancer
dark daughter dawn day decorated deep deer desert desk dice did dinner dinosaur dirt dirty dish distance do doctor
does dog dogs doll dolls dolphin done donkey door dot dots dotted dove dragon drawer drawing dream dress dressed
drill drink drinking drinks drive driver drives driving drop drops drum dry duck duckling dull during dusk each
eagle ear earring ears earth eat eating eats edge egg eggs eight elephant empty end engine enjoy enjoys eraser even
evening every eye eyes face fairy faith falcon fall family fancy farm farmer father feather feathers featuring feel
feels feet fence ferry few field figure figurine fill filled film find fine finger fire first fish fisher five flag
flame flat flies floor flower flowers fluffy flute fly flying fog foggy food foot football for foreground forest
fork found four fox frame free fresh fridge friend friends frog from front frost fruit full fur furry fuzzy game
garage garden garlic gate gentle get gets ghost gift giraffe girl give gives glass glasses glove gloves go goal goat
goes goggles gold golden golf good goose gorilla grace grandma grandpa grape grapes grass gray great green grey
ground group guard guitar guy had hair half hall ham hammer hamster hand hands hang hanging hangs happy hard hare
has hat have hawk he head headphones heart heavy hedgehog helicopter helmet help hen her here hero high highway hill
him hip his hit hockey hold holding holds holiday home honey hoodie hope horn horse hospital hot hotel hour house
how hug huge hugging hugs human hungry hunter i ice if image in include includes including ink inside into iris iron is
island it item items its ivory ivy jacket jar jeans jet joy juice jump jumping jumps june jungle just kangaroo kayak
keep keeps kettle key keyboard keys kick kid kids kind king kiss kitchen kite kitten kitty kiwi knee knife knight
koala ladder lady lake lamb lamp laptop large last laugh laughing laughs lawn lay lazy leaf lean leaning leans
leather leave leaves left leg lego legs lemon leopard less let letter lettuce library lie lies light lightning lily
lime line lines lion lip lips little lizard lobster lock long look looking looks lot loud love lovely low luck lunch
lying made magazine magenta magic make makes man mango many map market maroon mask mat may maybe me meadow meal meat
medal melon men metal microphone middle might milk minute mirror mist model mole mom monitor monkey monster month
moon moose mop more morning moss most moth mother motorcycle mountain mouse mouth move moves movie moving much mud
mug mule museum mushroom music must my nail name named narrow navy near neck necklace needle net never new newspaper
next nice night nine no noodle noodles noon nose not note now nurse nut object objects ocean octopus of off office
often old olive on one onion only onto open or orange other otter our out outside oval oven over owl paint painting
pair pajamas pale pan panda pants paper park parrot part party pasta path pattern paw paws pea peace peach peacock
peanut pear peas pen pencil penguin people pepper person pet pets phone photo photograph piano pick picture pie
piece pig pigeon piglet pillow pilot pin pineapple pink pirate pizza place placed plain plane planet plant plants
plastic plate play player playground playing plays plug plum plush plushie pocket point pointing points pond pony
pool poor porch pork portrait pose poses posing poster pot potato present pretty prince princess pull pumpkin puppet
puppy purple purse push put puzzle queen quiet rabbit raccoon race radio rain rainbow rainy rat raven reach read
reading reads real rectangle red remote rest restaurant resting rests ribbon rice rich ride rides riding right ring
river road robe robin robot rock rocket rocks roll roof room rooster root rope rose rough round rubber rug ruler run
running runs sad sail salad salt same sand sandal sandals sandwich sauce sausage saw scarf scarlet scene school
scissors scooter screen screw sculpture sea seal season second see seed seem seems seen sees set seven several
shadow shall shape shapes share shares shark she sheep sheet shelf shiny ship shirt shoe shoes shop shore short
shorts should shoulder show shown shows shrimp side sidewalk sign signal silk silver since singer sink sister sit
sits sitting six skateboard sketch ski skin skirt skis skunk sky sleep sleeping sleeps sleepy slide slipper slippers
sloth small smile smiles smiling smoke smooth snack snail snake sneaker sneakers snow snowy so soap soccer sock
socks soda sofa soft soil soldier some son song sort soup space sparrow speak speaker sphere spice spider spin
spinach sponge spoon sport spot spots spotted spring square squirrel stage stairs stand standing stands star stars
start station statue steak step steps stone stones stool stop store storm stormy story stove strawberry stream
street string stripe striped stripes student sugar suit suitcase summer sun sunflower sunglasses sunny sunrise
sunset surf surface surfboard surround surrounded swan sweater swim swimming swims switch table tail take takes talk
talking talks tall tan taxi tea teacher teal team teapot teddy teeth telephone television temple ten tennis than
that the theater their them then there these they thick thin thing things third this those thread three through
throw thumb thunder tie tiger time tiny tire to toad toast toaster today toe together tomato tongue too tool tools
tooth toothbrush top tortoise towel tower town toy toys tractor trail train tram tray tree trees triangle trophy
truck true trumpet trunk tshirt tulip turkey turn turns turtle tv two type umbrella uncle under uniform until up us
use used uses valley van vase vegetable very vest view village violet violin wagon wait waits walk walking walks
wall wallet warm was wash watch watches water waterfall watermelon wave waves way we wear wearing wears wedding week
were wet whale what wheel wheels when where which while whistle white who whole whose why wide wild will wind window
windy wine wing wings winter wire wish witch with without wizard wolf woman women wood wooden wool work worker
working works world worm would wrench write writes yard year yellow yes yogurt you young your zebra zipper zoo
""".split()
)
